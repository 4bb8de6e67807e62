/* Weight and bias gradients of a convolution.
 *
 * The unfolded input has one column per (input channel, tap): an offset into the padded lane planes of x. A tile sums
 * kb output channels × tb columns over a unit, which is L images × a strip of rows. Units are dealt to `parts`
 * accumulators in order; tasks are (conv group, block of output channels, part), and at the end the parts are added in order.
 * How many parts there are follows from the sizes alone, so the sums never depend on the number of threads. */

typedef struct {
    const FN(cnn_table) * table;
    const cnn_conv2d *p;
    REAL *dw;
    const REAL *dy, *x;
    FN(edge) from, dy_edge;              /* how x and dy lie in lanes; a patch of dy is oh×ow */
    ptrdiff_t oh, ow, cin, cout, columns, rows, cols; /* rows, cols: of a padded lane plane of x */
    ptrdiff_t strip, strips, units, parts, blocks, slab, first;
    REAL *x_lanes, *dy_lanes, *sums, *staging;
    ptrdiff_t staging_size;
    ptrdiff_t *taps;
} FN(grad_w);

static void FN(grad_pack)(const void *context, ptrdiff_t task, int thread) {
    const FN(grad_w) *v = context;
    const cnn_conv2d *p = v->p;
    const ptrdiff_t L = v->table->lanes, both = p->c + p->k, lane_group = task / both, channel = task % both;
    REAL *staging = v->staging + thread * v->staging_size;
    if (channel < p->c)
        FN(pack_plane)(v->table, &v->from, v->x_lanes + (lane_group * p->c + channel) * v->rows * v->cols * L, v->x,
                       v->first + lane_group, channel, staging);
    else
        FN(pack_plane)(v->table, &v->dy_edge, v->dy_lanes + (lane_group * p->k + channel - p->c) * v->oh * v->ow * L,
                       v->dy, v->first + lane_group, channel - p->c, staging);
}

/* Cuts the rows of dy down to those that meet the image, not just its padding, through a tap of columns [from, to). */
static void FN(grad_rows)(const cnn_conv2d *p, ptrdiff_t from, ptrdiff_t to, ptrdiff_t *row, ptrdiff_t *end) {
    const ptrdiff_t area = p->r * p->s, one_channel = from / area == (to - 1) / area;
    const ptrdiff_t least = one_channel ? from % area / p->s : 0, most = one_channel ? (to - 1) % area / p->s : p->r - 1;
    const ptrdiff_t above = p->pad_h - most * p->dilation_h, below = p->h - 1 + p->pad_h - least * p->dilation_h;
    *row = cnn_max(*row, above > 0 ? cnn_ceil_div(above, p->stride_h) : 0);
    *end = cnn_min(*end, below < 0 ? 0 : below / p->stride_h + 1);
}

static void FN(grad_task)(const void *context, ptrdiff_t task, int thread) {
    const FN(grad_w) *v = context;
    const FN(cnn_table) *table = v->table;
    const cnn_conv2d *p = v->p;
    const ptrdiff_t L = table->lanes, tb = table->grad_tb, plane = v->oh * v->ow;
    const ptrdiff_t block = task % v->blocks, group = task / v->blocks % p->groups;
    const ptrdiff_t part = task / (v->blocks * p->groups);
    const ptrdiff_t k0 = block * table->grad_kb, k = group * v->cout + k0;
    const int kb = (int)cnn_min(table->grad_kb, v->cout - k0);
    const ptrdiff_t first_group = v->first, last_group = v->first + v->slab;
    FN(cnn_grad_tile) tile = {.dw_k = v->columns, .dy_k = plane * L, .dy_r = v->ow * L,
                              .x_r = p->stride_h * v->cols * L, .x_p = p->stride_w * L, .cols = v->ow};
    (void)thread;
    for (ptrdiff_t unit = v->units * part / v->parts; unit < v->units * (part + 1) / v->parts; unit++) {
        const ptrdiff_t lane_group = unit / v->strips - first_group, row0 = unit % v->strips * v->strip;
        if (unit / v->strips < first_group || unit / v->strips >= last_group) continue;
        const REAL *dy = v->dy_lanes + (lane_group * p->k + k) * plane * L;
        const REAL *x = v->x_lanes + (lane_group * p->c + group * v->cin) * v->rows * v->cols * L;
        const ptrdiff_t tiles = cnn_ceil_div(v->columns, tb);
        for (ptrdiff_t i = 0; i < tiles; i++) {
            const ptrdiff_t from = v->columns * i / tiles, to = v->columns * (i + 1) / tiles;
            ptrdiff_t row = row0, end = cnn_min(row0 + v->strip, v->oh);
            if (v->oh == p->oh) FN(grad_rows)(p, from, to, &row, &end);
            if (row >= end) continue;
            tile.rows = end - row;
            tile.dy = dy + row * tile.dy_r;
            tile.x = x + row * tile.x_r;
            tile.tap = v->taps + from;
            tile.dw = v->sums + (part * p->k + k) * v->columns + from;
            table->grad_tile(&tile, kb, (int)(to - from));
        }
    }
}

#define SUM_CHUNK 4096

static void FN(grad_sum)(const void *context, ptrdiff_t task, int thread) {
    const FN(grad_w) *v = context;
    const ptrdiff_t size = v->p->k * v->columns, from = task * SUM_CHUNK;
    (void)thread;
    v->table->sum_parts(v->dw + from, v->sums + from, v->parts, size, cnn_min(SUM_CHUNK, size - from));
}

#define GRAD_STRIP_BYTES (64 << 10)  /* dy of one block of output channels, read again for every column tile */
#define GRAD_PARTS_BYTES (8 << 20)
#define GRAD_TASKS 64

cnn_status FN(cnn_conv2d_grad_w)(REAL *dw, const REAL *dy, const REAL *x, const cnn_conv2d *p) {
    if (!cnn_conv2d_valid(p)) return CNN_BAD_SIZE;
    FN(grad_w) v = {.table = FN(cnn_kernels)(), .p = p, .dw = dw, .dy = dy, .x = x};
    const ptrdiff_t L = v.table->lanes, area = p->r * p->s;
    FN(edge) *dy_edge = &v.dy_edge, *from = &v.from;
    *dy_edge = (FN(edge)){.images = p->n, .channels = p->k, .h = p->oh, .w = p->ow};
    FN(choose_grid)(L, p->n, p->oh, p->ow, 1, 1, dy_edge);
    v.oh = dy_edge->rows = dy_edge->step_h;
    v.ow = dy_edge->cols = dy_edge->step_w;
    const ptrdiff_t lane_groups = cnn_ceil_div(FN(edge_items)(dy_edge), L);
    v.cin = p->c / p->groups;
    v.cout = p->k / p->groups;
    v.columns = v.cin * area;
    v.rows = (v.oh - 1) * p->stride_h + (p->r - 1) * p->dilation_h + 1;
    v.cols = (v.ow - 1) * p->stride_w + (p->s - 1) * p->dilation_w + 1;
    *from = (FN(edge)){p->n, p->c, p->h, p->w, dy_edge->grid_h, dy_edge->grid_w, v.oh * p->stride_h, v.ow * p->stride_w,
                       p->pad_h, p->pad_w, v.rows, v.cols};
    v.staging_size = cnn_max(FN(edge_staging)(from, L), FN(edge_staging)(dy_edge, L));
    v.strip = cnn_min(v.oh, cnn_max(1, GRAD_STRIP_BYTES / (v.table->grad_kb * v.ow * L * (ptrdiff_t)sizeof(REAL))));
    v.strips = cnn_ceil_div(v.oh, v.strip);
    v.units = lane_groups * v.strips;
    v.blocks = cnn_ceil_div(v.cout, v.table->grad_kb);
    const double dw_bytes = (double)(p->k * v.columns) * sizeof(REAL);
    v.parts = cnn_min(v.units, cnn_ceil_div(GRAD_TASKS, v.blocks * p->groups));
    v.parts = cnn_max(1, cnn_min(v.parts, (ptrdiff_t)(GRAD_PARTS_BYTES / dw_bytes)));
    const double group_bytes = ((double)p->c * (double)(v.rows * v.cols) + (double)p->k * (double)(v.oh * v.ow)) *
                               (double)L * sizeof(REAL);
    v.slab = cnn_min(lane_groups, cnn_max(1, (ptrdiff_t)(2 * SLAB_BYTES / group_bytes)));
    const double work = (double)p->n * (double)p->k * (double)v.columns * (double)(p->oh * p->ow);
    const int threads = cnn_threads_for(work / 4);

    cnn_carver carver = {0};
    for (int pass = 0; pass < 2; pass++) {
        if (pass && !(carver.base = carver.overflow ? NULL : cnn_workspace(carver.used))) return CNN_NO_MEMORY;
        carver.used = 0;
        v.x_lanes = cnn_carve(&carver, v.slab * p->c * v.rows * v.cols * L, sizeof(REAL));
        v.dy_lanes = cnn_carve(&carver, v.slab * p->k * v.oh * v.ow * L, sizeof(REAL));
        v.staging = cnn_carve(&carver, threads * v.staging_size, sizeof(REAL));
        v.sums = cnn_carve(&carver, v.parts * p->k * v.columns, sizeof(REAL));
        v.taps = cnn_carve(&carver, v.columns, sizeof(ptrdiff_t));
    }
    memset(v.sums, 0, (size_t)(v.parts * p->k * v.columns) * sizeof(REAL));
    for (ptrdiff_t i = 0; i < v.columns; i++) {
        const ptrdiff_t c = i / area, r = i % area / p->s, s = i % p->s;
        v.taps[i] = ((c * v.rows + r * p->dilation_h) * v.cols + s * p->dilation_w) * L;
    }
    for (v.first = 0; v.first < lane_groups; v.first += v.slab) {
        const ptrdiff_t here = cnn_min(v.slab, lane_groups - v.first);
        cnn_parallel_for(threads, here * (p->c + p->k), FN(grad_pack), &v);
        cnn_parallel_for(threads, v.parts * p->groups * v.blocks, FN(grad_task), &v);
    }
    cnn_parallel_for(threads, cnn_ceil_div(p->k * v.columns, SUM_CHUNK), FN(grad_sum), &v);
    return CNN_OK;
}

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

cnn_status FN(cnn_conv2d_grad_b)(REAL *db, const REAL *dy, const cnn_conv2d *p) {
    if (!cnn_conv2d_valid(p)) return CNN_BAD_SIZE;
    const FN(grad_b) v = {FN(cnn_kernels)(), p, db, dy};
    const double work = (double)p->n * (double)p->k * (double)(p->oh * p->ow);
    cnn_parallel_for(cnn_threads_for(work / 4), p->k, FN(grad_b_task), &v);
    return CNN_OK;
}
