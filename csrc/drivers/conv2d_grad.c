/* Gradients of a convolution: dx, a convolution of dy; dw, by Winograd's tiles or as a direct sum; db, a sum of dy. */

typedef struct {
    const FN(cnn_table) * table;
    const cnn_conv2d *p;
    REAL *db;
    const REAL *dy;
} FN(grad_b);

static void FN(grad_b_task)(const void *context, ptrdiff_t k, int thread) {
    const FN(grad_b) *v = context;
    const ptrdiff_t plane = v->p->oh * v->p->ow;
    (void)thread;
    v->table->sum_planes(v->db + k, v->dy + k * plane, v->p->n, v->p->k * plane, plane);
}

static void FN(grad_b_run)(REAL *db, const REAL *dy, const cnn_conv2d *p) {
    const FN(grad_b) b = {FN(cnn_kernels)(), p, db, dy};
    const double work = (double)p->n * (double)p->k * (double)(p->oh * p->ow);
    cnn_parallel_for(cnn_threads_for(work / 4), p->k, FN(grad_b_task), &b);
}

/* dw's way, and whether it reads x as lane planes. */
typedef struct {
    int by_tiles, reads_planes; /* tiles of this size, or 0 */
    FN(grad_w) direct;
    FN(wino_grad) tiles;
} FN(dw_pass);

static void FN(dw_carve)(FN(dw_pass) * v, cnn_carver *carver, int threads) {
    if (v->reads_planes) FN(source_carve)(&v->direct.x, carver, threads);
    if (v->by_tiles) FN(wino_grad_carve)(&v->tiles, carver, threads);
    else FN(grad_w_carve)(&v->direct, carver, threads);
}

/* What lane groups [first, first + count) give. */
static void FN(dw_run)(FN(dw_pass) * v, ptrdiff_t first, ptrdiff_t count, int threads) {
    if (v->reads_planes) FN(source_fill)(&v->direct.x, first, count, threads);
    if (v->by_tiles) FN(wino_grad_run)(&v->tiles, first, first + count, threads);
    else FN(grad_w_run)(&v->direct, first, first + count, threads);
}

/* dw alone, or with `dx` the input gradient from the same planes of dy, and with `sums` those for the bias. */
static cnn_status FN(grad_run)(FN(dw_pass) * w, FN(conv_pass) * dx, FN(source) * dy, const FN(edge) * grid) {
    const FN(cnn_table) *t = dy->table;
    const cnn_conv2d *p = w->direct.p;
    const ptrdiff_t lane_groups = FN(lane_groups)(t, grid);
    const double work = (double)p->n * (double)p->k * (double)(p->c / p->groups * p->r * p->s) * (double)(p->oh * p->ow);
    const int threads = dx ? dx->threads : cnn_threads_for(work / 4);
    REAL *db = dy->sums;
    FN(source_size)(dy, lane_groups, SLAB_BYTES);
    if (w->reads_planes) {
        FN(source_size)(&w->direct.x, lane_groups, SLAB_BYTES);
        dy->slab = w->direct.x.slab = cnn_min(dy->slab, w->direct.x.slab);
    }
    cnn_carver carver = {0};
    for (int pass = 0; pass < 2; pass++) {
        if (pass && !(carver.base = carver.overflow ? NULL : cnn_workspace(carver.used))) return CNN_NO_MEMORY;
        carver.used = 0;
        FN(source_carve)(dy, &carver, threads);
        if (db) dy->sums = cnn_carve(&carver, lane_groups * p->k, sizeof(REAL));
        if (dx) FN(conv_carve)(dx, &carver);
        if (w->direct.dw) FN(dw_carve)(w, &carver, threads);
    }
    if (dx) FN(conv_weights)(dx);
    if (w->direct.dw && !w->by_tiles) FN(grad_w_begin)(&w->direct);
    for (ptrdiff_t first = 0; first < lane_groups; first += dy->slab) {
        const ptrdiff_t count = cnn_min(dy->slab, lane_groups - first);
        FN(source_fill)(dy, first, count, threads);
        if (w->direct.dw) FN(dw_run)(w, first, count, threads);
        if (dx) FN(conv_run)(dx, count);
    }
    if (w->direct.dw && w->by_tiles) FN(wino_grad_finish)(&w->tiles, threads);
    else if (w->direct.dw) FN(grad_w_finish)(&w->direct, threads);
    if (db) t->sum_rows(db, dy->sums, lane_groups, p->k, 0, p->k);
    return CNN_OK;
}

/* dw by tiles from arrays that are read as they are. */
static cnn_status FN(tiles_alone)(FN(wino_grad) * g) {
    const cnn_conv2d *p = g->p;
    const double work = (double)p->n * (double)p->k * (double)(p->c / p->groups * p->r * p->s) * (double)(p->oh * p->ow);
    const int threads = cnn_threads_for(work / 4);
    cnn_carver carver = {0};
    for (int pass = 0; pass < 2; pass++) {
        if (pass && !(carver.base = carver.overflow ? NULL : cnn_workspace(carver.used))) return CNN_NO_MEMORY;
        carver.used = 0;
        FN(wino_grad_carve)(g, &carver, threads);
    }
    FN(wino_grad_run)(g, 0, cnn_ceil_div(p->n, g->table->lanes), threads);
    FN(wino_grad_finish)(g, threads);
    return CNN_OK;
}

/* Each gradient for itself, of 1×1 filters. */
static cnn_status FN(pointwise_backward)(REAL *dx, REAL *dw, REAL *db, const REAL *dy, const REAL *x, const REAL *w,
                                         const cnn_conv2d *p) {
    const FN(cnn_table) *t = FN(cnn_kernels)();
    const ptrdiff_t cin = p->c / p->groups, cout = p->k / p->groups;
    FN(pointwise) of_x = {.table = t, .p = p, .gradient = 1, .y = dx, .x = dy, .w = w, .depth = cout, .outputs = cin};
    FN(pointwise_dw) of_w = {.table = t, .p = p, .dw = dw, .x = x, .dy = dy, .cin = cin, .cout = cout};
    cnn_status status = dx ? FN(pointwise_run)(&of_x) : CNN_OK;
    if (dw && status == CNN_OK) status = FN(pointwise_dw_run)(&of_w);
    if (db && status == CNN_OK) FN(grad_b_run)(db, dy, p);
    return status;
}

ONCE cnn_status FN(cnn_conv2d_backward)(REAL *dx, REAL *dw, REAL *db, const REAL *dy, const REAL *y,
                                        const uint8_t *winner, const REAL *x, const REAL *w, const cnn_conv2d *sizes,
                                        const cnn_conv2d_fusion *fusion) {
    cnn_conv2d told = *sizes, *p = &told;
    cnn_conv2d_fusion fused = *fusion, *f = &fused;
    if (!cnn_conv2d_valid(p) || (f->pool && (p->oh < 2 || p->ow < 2)) || f->pool != (winner != NULL) ||
        (f->relu && !f->pool && !y))
        return CNN_BAD_SIZE;
    cnn_clip_strides(p);
    if (FN(depthwise_pays)(p, f)) return FN(depthwise_backward)(dx, dw, db, dy, y, x, w, p, f);
    if (FN(pointwise_pays)(p, f, 1)) return FN(pointwise_backward)(dx, dw, db, dy, x, w, p);
    FN(tell_pointwise)(p, f);
    const FN(cnn_table) *t = FN(cnn_kernels)();
    const int undone = f->relu || f->pool, whole = undone || f->x_lanes || f->y_lanes || 2 * p->n > t->lanes;
    FN(conv_pass) v = {.conv = {.w = w, .to = {.y = dx}}};
    FN(conv_tell)(&v.conv, p, f, 1);
    FN(dw_pass) g = {.by_tiles = dw ? FN(wino_grad_tile)(t, p) : 0, .direct = {.table = t, .p = p, .dw = dw},
                     .tiles = {.table = t, .dw = dw}};
    FN(source) *from = &v.conv.from, plain = v.conv.from, *in = &g.direct.x;
    *in = (FN(source)){.table = t, .edge = v.conv.to.edge, .x = x};
    g.reads_planes = dw && (!g.by_tiles || f->x_lanes);
    from->x = dy;
    from->winner = winner;
    from->open = f->pool || !f->relu ? NULL : y;
    if (dx) FN(conv_size)(&v, p, 1, whole);
    if (whole) {
        FN(edge) grid = from->edge;
        FN(choose_grid)(t->lanes, 1, 1, 1, &grid);
        if (!dx) {
            from->edge.rows = from->edge.h;
            from->edge.cols = from->edge.w;
        }
        from->sums = db;
        g.direct.dy = from;
        if (g.by_tiles) {
            in->edge.rows = in->edge.h;
            in->edge.cols = in->edge.w;
            FN(wino_grad_size)(&g.tiles, p, g.by_tiles, f->x_lanes ? in : NULL, x, undone || f->y_lanes ? from : NULL, dy);
        } else if (dw) {
            FN(grad_w_size)(&g.direct, &grid, 1);
            if (g.direct.strided) { /* room for the last tiles */
                from->edge.rows = cnn_max(from->edge.rows, from->edge.top + cnn_ceil_div(p->oh, 2) * 2);
                from->edge.cols = cnn_max(from->edge.cols, from->edge.left + cnn_ceil_div(p->ow, 2) * 2);
            }
        }
        return FN(grad_run)(&g, dx ? &v : NULL, from, &grid);
    }
    /* Few images: each pass cuts patches of its own, or reads the arrays as they are. */
    cnn_status status = CNN_OK;
    if (dx) status = FN(conv_alone)(&v);
    if (g.by_tiles && status == CNN_OK) {
        FN(wino_grad_size)(&g.tiles, p, g.by_tiles, NULL, x, NULL, dy);
        status = FN(tiles_alone)(&g.tiles);
    } else if (dw && status == CNN_OK) {
        FN(edge) grid = plain.edge;
        const ptrdiff_t step = FN(grad_w_strided)(p, 0) ? 2 : 1;
        FN(choose_grid)(t->lanes, step, step, 0, &grid);
        plain.x = dy;
        plain.edge = grid;
        plain.edge.rows = cnn_ceil_div(grid.step_h, step) * step;
        plain.edge.cols = cnn_ceil_div(grid.step_w, step) * step;
        g.direct.dy = &plain;
        FN(grad_w_size)(&g.direct, &grid, 0);
        status = FN(grad_run)(&g, NULL, &plain, &grid);
    }
    if (db && status == CNN_OK) FN(grad_b_run)(db, dy, p);
    return status;
}
