/* Convolution forward of NCHW with neighbouring columns of one image in lanes: for images of few channels, such as a net's
 * first layer has, lane layout would cost more than it saves, and for few images it would leave lanes empty.
 *
 * A task is an image, a conv group and a strip of output rows. What the strip reads is copied into scratch as in
 * depthwise.c, padded and with columns split by the stride, so that each tap is a constant distance. Then register tiles of
 * MB output channels × NB vectors of columns (tap_tile), weights being packed as in panels.c; where nothing is pooled, they
 * write to y. */

typedef struct {
    FN(conv) conv;
    FN(panels) weights;
    const cnn_conv2d *p;
    FN(padded) x;                /* of a strip */
    ptrdiff_t strip, strips, vectors, x_size, row_size, per_thread;
    ptrdiff_t *taps;
    REAL *scratch;
} FN(pixels);

#define PIXEL_CHANNELS 4 /* so many are few */

/* Whether a convolution goes this way: images would leave half of the lanes empty and columns less than a quarter, or
 * channels are few and columns fill nearly all. */
static int FN(pixels_pay)(const cnn_conv2d *p, const cnn_conv2d_fusion *f, ptrdiff_t L) {
    const ptrdiff_t lanes = cnn_ceil_div(p->ow, L) * L;
    const int few_images = 2 * p->n <= L && 4 * p->ow >= 3 * lanes;
    const int few_channels = p->c / p->groups <= PIXEL_CHANNELS && 16 * p->ow >= 15 * lanes;
    return (few_images || few_channels) && !f->x_lanes && !f->y_lanes;
}

static void FN(pixels_fill)(const FN(pixels) * v, REAL *scratch, ptrdiff_t image, ptrdiff_t group, ptrdiff_t row) {
    const FN(conv) *c = &v->conv;
    const cnn_conv2d *p = v->p;
    FN(padded) strip = v->x;
    const ptrdiff_t height = strip.size / strip.line;
    strip.row = FN(place)(p->h, p->pad_h - row * p->stride_h, 1, height);
    memset(scratch, 0, (size_t)(c->cin * strip.size) * sizeof(REAL));
    for (ptrdiff_t i = 0; i < c->cin; i++)
        FN(padded_fill)(c->table, &strip, scratch + i * strip.size,
                        c->from.x + ((image * c->groups + group) * c->cin + i) * p->h * p->w);
}

/* One row of an output channel, or with pooling two, on the way to y; it may be there already. */
static void FN(pixels_deliver)(const FN(pixels) * v, REAL *y, REAL *row, ptrdiff_t channel) {
    const FN(sink) *to = &v->conv.to;
    const FN(cnn_table) *t = v->conv.table;
    const REAL zero = 0;
    const FN(cnn_norm) norm = {.mean = &zero, .scale = to->scale + channel, .offset = &zero,
                               .shift = to->shift ? to->shift + channel : &zero};
    REAL *below = row + t->gemm_mb * v->row_size;
    if (to->scale) t->norm(row, row, &norm, v->p->ow, 0, 0);
    if (to->scale && to->pool) t->norm(below, below, &norm, v->p->ow, 0, 0);
    if (to->pool) t->pool_row(row, row, below, to->edge.w, to->relu);
    else if (to->relu) t->relu(row, row, v->p->ow, 0);
    if (row != y) memcpy(y, row, (size_t)to->edge.w * sizeof(REAL));
}

static void FN(pixels_task)(const void *context, ptrdiff_t task, int thread) {
    const FN(pixels) *v = context;
    const FN(conv) *c = &v->conv;
    const FN(cnn_table) *t = c->table;
    const cnn_conv2d *p = v->p;
    const ptrdiff_t L = t->lanes, mb = t->gemm_mb, area = p->r * p->s, tiles = cnn_ceil_div(v->vectors, t->gemm_nb);
    const ptrdiff_t group = task / v->strips % c->groups, image = task / (v->strips * c->groups);
    const ptrdiff_t first = task % v->strips * v->strip, end = cnn_min(p->oh, first + v->strip);
    REAL *x = v->scratch + thread * v->per_thread, *rows = x + v->x_size;
    FN(pixels_fill)(v, x, image, group, first);
    FN(cnn_tap_tile) tile = {.c_j = L, .tap = v->taps, .taps = area, .channels = c->cin,
                             .x_c = v->x.size, .x_p = L};
    const ptrdiff_t together = c->to.pool ? 2 : 1, plane = c->to.edge.h * c->to.edge.w;
    for (ptrdiff_t row = first; row + together <= end; row += together)
        for (ptrdiff_t block = 0; block < v->weights.blocks; block++) {
            const ptrdiff_t k = block * mb, count = cnn_min(mb, c->cout - k), channel = group * c->cout + k;
            REAL *y = c->to.y + (image * p->k + channel) * plane + row / together * c->to.edge.w;
            /* Whole vectors reach into the next row, which is written after this one, unless it is another task's. */
            const int in_place = !c->to.pool && (p->ow % L == 0 || row + 1 < end);
            tile.c_i = in_place ? plane : v->row_size;
            tile.a = v->weights.packed + (group * v->weights.blocks + block) * c->cin * area * mb;
            tile.bias = c->bias ? c->bias + channel : NULL;
            for (ptrdiff_t i = 0; i < count; i++) FN(fetch_output)(y + i * plane, c->to.edge.w);
            for (ptrdiff_t i = 0; i < together * tiles; i++) {
                const ptrdiff_t r = i / tiles, j = i % tiles, from = v->vectors * j / tiles;
                const ptrdiff_t to = v->vectors * (j + 1) / tiles;
                tile.x = x + (row + r - first) * p->stride_h * v->x.line + from * L;
                tile.c = in_place ? y + from * L : rows + r * mb * v->row_size + from * L;
                t->tap_tile(&tile, (int)count, (int)(to - from));
            }
            for (ptrdiff_t i = 0; i < count; i++)
                FN(pixels_deliver)(v, y + i * plane, in_place ? y + i * plane : rows + i * v->row_size, channel + i);
        }
}

#define PIXEL_BYTES (256 << 10) /* of x that a strip reads: part of a second-level cache */

static cnn_status FN(pixels_forward)(FN(pixels) * v, const cnn_conv2d *p) {
    FN(conv) *c = &v->conv;
    const ptrdiff_t L = c->table->lanes, area = p->r * p->s, size = (ptrdiff_t)sizeof(REAL);
    v->p = p;
    const ptrdiff_t mb = c->table->gemm_mb, blocks = cnn_ceil_div(c->cout, mb);
    v->weights = (FN(panels)){.conv = c, .phases_h = 1, .phases_w = 1, .blocks = blocks};
    v->vectors = cnn_ceil_div(p->ow, L);
    v->row_size = cnn_ceil_div(v->vectors, 2) * 2 * L; /* pooling reads two vectors at a time */
    v->x = FN(padded_plane)(p, L, 0);
    const double work = (double)p->n * (double)(p->k * c->cin) * (double)area * (double)(p->oh * p->ow);
    const int threads = cnn_threads_for(work / 4);
    const ptrdiff_t reach = (p->r - 1) * p->dilation_h + 1, line_bytes = c->cin * v->x.line * size;
    const ptrdiff_t fit = cnn_max(1, (PIXEL_BYTES / line_bytes - reach) / p->stride_h + 1), planes = p->n * p->groups;
    const ptrdiff_t tasks = threads > 1 ? TASKS_PER_THREAD * threads : 1;
    v->strips = cnn_max(cnn_ceil_div(p->oh, fit), cnn_min(p->oh, cnn_ceil_div(tasks, planes)));
    v->strip = cnn_ceil_div(cnn_ceil_div(p->oh, v->strips), 2) * 2;
    v->strips = cnn_ceil_div(p->oh, v->strip);
    v->x.size = ((v->strip - 1) * p->stride_h + reach) * v->x.line;
    v->x_size = c->cin * v->x.size;
    v->per_thread = v->x_size + 2 * mb * v->row_size;
    cnn_carver carver = {0};
    for (int pass = 0; pass < 2; pass++) {
        if (pass && !(carver.base = carver.overflow ? NULL : cnn_workspace(carver.used))) return CNN_NO_MEMORY;
        carver.used = 0;
        FN(padded_carve)(&v->x, &carver, p->dilation_w);
        v->taps = cnn_carve(&carver, area, sizeof *v->taps);
        v->weights.packed = cnn_carve(&carver, p->groups * blocks * c->cin * area * mb, sizeof(REAL));
        v->scratch = cnn_carve(&carver, threads * v->per_thread, sizeof(REAL));
    }
    for (ptrdiff_t t = 0; t < area; t++) v->taps[t] = t / p->s * p->dilation_h * v->x.line + v->x.tap[t % p->s];
    FN(panels_weights)(&v->weights, threads);
    cnn_parallel_for(threads, planes * v->strips, FN(pixels_task), v);
    return CNN_OK;
}
