/* Convolution: which way a pass takes, and the walk over slabs of lane groups.
 *
 * The input gradient is told as a convolution too: dy is the source, input and output channels change places. */

typedef struct {
    FN(conv) conv;
    int by_tiles;
    FN(panels) panels;
    FN(winograd) tiles;
    int threads;
} FN(conv_pass);

/* y (or, with `gradient`, dx) from x (or dy): how arrays lie and what the sum is. */
static void FN(conv_tell)(FN(conv) * c, const cnn_conv2d *p, const cnn_conv2d_fusion *f, int gradient) {
    const ptrdiff_t area = p->r * p->s, cin = p->c / p->groups, cout = p->k / p->groups;
    const FN(edge) x = {.images = p->n, .channels = p->c, .h = p->h, .w = p->w, .grid_h = 1, .grid_w = 1,
                        .lanes = f->x_lanes};
    const FN(edge) y = {.images = p->n, .channels = p->k, .h = p->oh, .w = p->ow, .grid_h = 1, .grid_w = 1,
                        .lanes = f->y_lanes};
    c->table = c->from.table = FN(cnn_kernels)();
    c->groups = p->groups;
    c->cin = gradient ? cout : cin;
    c->cout = gradient ? cin : cout;
    c->w_out = gradient ? area : cin * area;
    c->w_in = gradient ? cin * area : area;
    c->w_group = cout * cin * area;
    c->from.edge = gradient ? y : x;
    c->to.edge = c->grid = gradient ? x : y;
    c->row = gradient ? (FN(axis)){p->h, p->oh, p->r, p->stride_h, p->pad_h, p->dilation_h, 1}
                      : (FN(axis)){p->oh, p->h, p->r, p->stride_h, p->pad_h, p->dilation_h, 0};
    c->col = gradient ? (FN(axis)){p->w, p->ow, p->s, p->stride_w, p->pad_w, p->dilation_w, 1}
                      : (FN(axis)){p->ow, p->w, p->s, p->stride_w, p->pad_w, p->dilation_w, 0};
    if (!gradient && f->pool) {
        c->to.edge.h /= 2;
        c->to.edge.w /= 2;
    }
}

/* 1×1 filters at stride 1 see rows of pixels, not planes: L neighbouring pixels of one image lie side by side as L images
 * do in lane layout. Where vectors divide the image, NCHW is told as that, and nothing is converted at either end. */
static void FN(tell_pointwise)(cnn_conv2d *p, cnn_conv2d_fusion *f) {
    const ptrdiff_t L = FN(cnn_kernels)()->lanes, area = p->h * p->w;
    if (p->r * p->s > 1 || p->stride_h * p->stride_w > 1 || p->pad_h || p->pad_w || f->x_lanes || f->y_lanes || f->pool ||
        area % L)
        return;
    p->n *= L;
    p->h = p->oh = 1;
    p->w = p->ow = area / L;
    f->x_lanes = f->y_lanes = 1;
}

static int FN(conv_tile)(const cnn_conv2d *p, int gradient, int whole) {
    const double c = (double)(p->c / p->groups), k = (double)(p->k / p->groups);
    const FN(edge) y = {.images = p->n, .h = p->oh, .w = p->ow}, x = {.images = p->n, .h = p->h, .w = p->w};
    return FN(tile_size)(p, gradient ? &x : &y, gradient, whole, c * k, c * k, gradient ? 7 * k + 12 * c : 7 * c + 12 * k);
}

/* Chooses the way and decides how the work is cut. Lane layout and fused gradients want whole images in the lanes. */
ONCE static void FN(conv_size)(FN(conv_pass) * v, const cnn_conv2d *p, int gradient, int whole) {
    FN(conv) *c = &v->conv;
    const ptrdiff_t L = c->table->lanes;
    v->by_tiles = FN(conv_tile)(p, gradient, whole);
    v->tiles.n = v->by_tiles;
    v->tiles.frequencies = v->tiles.n * v->tiles.n;
    v->tiles.taps = (int)p->r;
    v->tiles.flip = gradient;
    v->tiles.m = v->tiles.n + 1 - p->r;
    const ptrdiff_t pool = c->to.pool ? 2 : 1;
    const FN(strided_way) *strided = v->panels.strided = FN(strided_pays)(p, gradient, whole, 4, 0);
    const ptrdiff_t least = v->by_tiles ? FN(patch_step)(v->tiles.m, gradient) : strided ? 2 : pool;
    const ptrdiff_t least_h = gradient ? p->stride_h * least : least, least_w = gradient ? p->stride_w * least : least;
    FN(choose_grid)(L, least_h, least_w, whole, &c->grid);
    c->from.edge.grid_h = c->to.edge.grid_h = c->grid.grid_h;
    c->from.edge.grid_w = c->to.edge.grid_w = c->grid.grid_w;
    c->to.edge.step_h = c->grid.step_h / pool;
    c->to.edge.step_w = c->grid.step_w / pool;
    if (v->by_tiles) {
        FN(wino_halo)(&v->tiles, c);
        v->threads = FN(wino_size)(&v->tiles, c);
    } else {
        FN(conv_halo)(c);
        if (strided) FN(strided_halo)(c, strided);
        v->threads = FN(panels_size)(&v->panels, c);
    }
}

ONCE const char *FN(cnn_conv2d_way)(const cnn_conv2d *sizes, const cnn_conv2d_fusion *fusion, int gradient) {
    cnn_conv2d told = *sizes, *p = &told;
    cnn_conv2d_fusion fused = *fusion, *f = &fused;
    if (FN(depthwise_pays)(p, f)) return "depthwise";
    const ptrdiff_t L = FN(cnn_kernels)()->lanes;
    const int whole = f->x_lanes || f->y_lanes || (gradient && (f->relu || f->pool));
    const int n = FN(conv_tile)(p, gradient, whole);
    if (!gradient && FN(unfolding_pays)(p, f, L, n)) return "unfolded";
    if (FN(pointwise_pays)(p, f, gradient)) return "pointwise";
    if (!gradient) FN(tell_pointwise)(p, f);
    if (!n && !gradient && FN(pixels_pay)(p, f, L)) return "pixels";
    if (FN(strided_pays)(p, gradient, whole, 4, 0)) return "tiles 5×5";
    return n == 6 ? "tiles 6×6" : n == 7 ? "tiles 7×7" : n == 8 ? "tiles 8×8" : "direct";
}

static void FN(conv_carve)(FN(conv_pass) * v, cnn_carver *carver) {
    if (v->by_tiles) FN(wino_carve)(&v->tiles, carver, v->threads);
    else FN(panels_carve)(&v->panels, carver, v->threads);
}

static void FN(conv_weights)(FN(conv_pass) * v) {
    if (v->by_tiles) FN(wino_weights_run)(&v->tiles, v->threads);
    else FN(panels_weights)(&v->panels, v->threads);
}

static void FN(conv_run)(FN(conv_pass) * v, ptrdiff_t lane_groups) {
    if (v->by_tiles) FN(wino_run)(&v->tiles, lane_groups, v->threads);
    else FN(panels_run)(&v->panels, lane_groups, v->threads);
}

static ptrdiff_t FN(lane_groups)(const FN(cnn_table) * t, const FN(edge) * grid) {
    return cnn_ceil_div(FN(edge_items)(grid), t->lanes);
}

/* A convolution whose source is used for nothing else. */
ONCE static cnn_status FN(conv_alone)(FN(conv_pass) * v) {
    FN(conv) *c = &v->conv;
    const ptrdiff_t lane_groups = FN(lane_groups)(c->table, &c->grid);
    FN(source_size)(&c->from, lane_groups, SLAB_BYTES);
    cnn_carver carver = {0};
    for (int pass = 0; pass < 2; pass++) {
        if (pass && !(carver.base = carver.overflow ? NULL : cnn_workspace(carver.used))) return CNN_NO_MEMORY;
        carver.used = 0;
        FN(source_carve)(&c->from, &carver, v->threads);
        FN(conv_carve)(v, &carver);
    }
    FN(conv_weights)(v);
    for (ptrdiff_t first = 0; first < lane_groups; first += c->from.slab) {
        const ptrdiff_t count = cnn_min(c->from.slab, lane_groups - first);
        FN(source_fill)(&c->from, first, count, v->threads);
        FN(conv_run)(v, count);
    }
    return CNN_OK;
}

ONCE cnn_status FN(cnn_conv2d_forward)(REAL *y, uint8_t *winner, const REAL *x, const REAL *w, const REAL *b,
                                       const REAL *scale, const cnn_conv2d *sizes, const cnn_conv2d_fusion *fusion) {
    cnn_conv2d told = *sizes, *p = &told;
    cnn_conv2d_fusion fused = *fusion, *f = &fused;
    if (!cnn_conv2d_valid(p) || (f->pool && (p->oh < 2 || p->ow < 2)) || (winner && !f->pool)) return CNN_BAD_SIZE;
    cnn_clip_strides(p);
    if (FN(depthwise_pays)(p, f)) return FN(depthwise_forward)(y, x, w, b, scale, p, f);
    const ptrdiff_t L = FN(cnn_kernels)()->lanes;
    const int whole = f->x_lanes || f->y_lanes || winner, n = FN(conv_tile)(p, 0, whole);
    if (!winner && FN(unfolding_pays)(p, f, L, n)) return FN(unfolded_forward)(y, x, w, b, scale, p, f);
    if (FN(pointwise_pays)(p, f, 0)) {
        FN(pointwise) v = {.table = FN(cnn_kernels)(), .p = p, .relu = f->relu, .y = y, .x = x, .w = w, .b = b, .scale = scale,
                           .depth = p->c / p->groups, .outputs = p->k / p->groups};
        return FN(pointwise_run)(&v);
    }
    FN(tell_pointwise)(p, f);
    FN(conv_pass) v = {.conv = {.w = w, .bias = scale ? NULL : b, .from = {.x = x},
                                .to = {.scale = scale, .shift = b, .relu = f->relu, .pool = f->pool, .y = y, .winner = winner}}};
    FN(conv_tell)(&v.conv, p, f, 0);
    if (!winner && !n && FN(pixels_pay)(p, f, L)) {
        FN(pixels) pixels = {.conv = v.conv};
        return FN(pixels_forward)(&pixels, p);
    }
    FN(conv_size)(&v, p, 0, whole);
    return FN(conv_alone)(&v);
}
