/* The weight gradient of a convolution, from the lane planes of x (padded) and of dy.
 *
 * The unfolded input has one column per (input channel, tap): an offset into the padded lane planes of x. A tile sums
 * kb output channels × tb columns over a unit, which is L images × a strip of rows. Units are dealt to `parts`
 * accumulators in order; tasks are (conv group, block of output channels, part), and at the end the parts are added in order.
 * How many parts there are follows from the sizes alone, so the sums never depend on the number of threads. */

typedef struct {
    const FN(cnn_table) * table;
    const cnn_conv2d *p;
    REAL *dw;
    FN(source) x;
    const FN(source) * dy;
    ptrdiff_t oh, ow; /* of dy, or of a patch of it */
    ptrdiff_t cin, cout, columns, strip, strips, units, parts, blocks, first, end; /* [first, end): lane groups at hand */
    REAL *sums;
    ptrdiff_t *taps;
    int strided; /* by strided_grad.c: strips are of input channels then, and parts of output channels */
    REAL *scratch;
    ptrdiff_t scratch_size; /* per thread */
} FN(grad_w);

/* strided_grad.c */
#define STRIDED_GRAD_SUMS 16
static void FN(strided_grad_size)(FN(grad_w) * v);
static void FN(strided_grad_task)(const void *context, ptrdiff_t task, int thread);
static void FN(strided_grad_taps)(const void *context, ptrdiff_t k, int thread);

/* Whether images of dy are taken in tiles of 2×2 pixels. */
static int FN(grad_w_strided)(const cnn_conv2d *p, int whole) { return FN(strided_pays)(p, 0, whole, 10, 64) != NULL; }

/* Cuts the rows of dy down to those that meet the image, not just its padding, through a tap of columns [from, to). */
static void FN(grad_rows)(const cnn_conv2d *p, ptrdiff_t from, ptrdiff_t to, ptrdiff_t *row, ptrdiff_t *end) {
    const ptrdiff_t area = p->r * p->s, one_channel = from / area == (to - 1) / area;
    const ptrdiff_t least = one_channel ? from % area / p->s : 0, most = one_channel ? (to - 1) % area / p->s : p->r - 1;
    const ptrdiff_t above = p->pad_h - most * p->dilation_h, below = p->h - 1 + p->pad_h - least * p->dilation_h;
    *row = cnn_max(*row, above > 0 ? cnn_ceil_div(above, p->stride_h) : 0);
    *end = cnn_min(*end, below < 0 ? 0 : below / p->stride_h + 1);
}

static void FN(grad_w_task)(const void *context, ptrdiff_t task, int thread) {
    const FN(grad_w) *v = context;
    const FN(cnn_table) *table = v->table;
    const FN(edge) *e = &v->dy->edge;
    const cnn_conv2d *p = v->p;
    const ptrdiff_t L = table->lanes, tb = table->grad_tb;
    const ptrdiff_t block = task % v->blocks, group = task / v->blocks % p->groups;
    const ptrdiff_t part = task / (v->blocks * p->groups);
    const ptrdiff_t k0 = block * table->grad_kb, k = group * v->cout + k0;
    const int kb = (int)cnn_min(table->grad_kb, v->cout - k0);
    FN(cnn_grad_tile) tile = {.dw_k = v->columns, .dy_k = FN(plane_size)(v->dy), .dy_r = e->cols * L,
                              .x_r = p->stride_h * v->x.edge.cols * L, .x_p = p->stride_w * L, .cols = v->ow};
    (void)thread;
    for (ptrdiff_t unit = v->units * part / v->parts; unit < v->units * (part + 1) / v->parts; unit++) {
        const ptrdiff_t lane_group = unit / v->strips, row0 = unit % v->strips * v->strip;
        if (lane_group < v->first || lane_group >= v->end) continue;
        const REAL *dy = FN(plane)(v->dy, lane_group, k) + (e->top * e->cols + e->left) * L;
        const REAL *x = FN(plane)(&v->x, lane_group, group * v->cin);
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

static void FN(grad_w_sum)(const void *context, ptrdiff_t task, int thread) {
    const FN(grad_w) *v = context;
    const ptrdiff_t size = v->p->k * v->columns, from = task * SUM_CHUNK;
    (void)thread;
    v->table->sum_parts(v->dw + from, v->sums + from, v->parts, size, cnn_min(SUM_CHUNK, size - from));
}

#define GRAD_STRIP_BYTES (20 << 10)  /* dy of one block of output channels, read again for every column tile */
#define GRAD_PARTS_BYTES (8 << 20)
#define GRAD_TASKS 64

/* Decides how the work is cut and where x has to lie; `grid` is how dy's images are cut into patches. */
static void FN(grad_w_size)(FN(grad_w) * v, const FN(edge) * grid, int whole) {
    const cnn_conv2d *p = v->p;
    const ptrdiff_t L = v->table->lanes, lane_groups = cnn_ceil_div(FN(edge_items)(grid), L);
    FN(edge) *e = &v->x.edge;
    v->oh = grid->step_h;
    v->ow = grid->step_w;
    v->cin = p->c / p->groups;
    v->cout = p->k / p->groups;
    v->columns = v->cin * p->r * p->s;
    e->grid_h = grid->grid_h;
    e->grid_w = grid->grid_w;
    e->step_h = v->oh * p->stride_h;
    e->step_w = v->ow * p->stride_w;
    e->top = p->pad_h;
    e->left = p->pad_w;
    e->rows = (v->oh - 1) * p->stride_h + (p->r - 1) * p->dilation_h + 1;
    e->cols = (v->ow - 1) * p->stride_w + (p->s - 1) * p->dilation_w + 1;
    v->blocks = cnn_ceil_div(v->cout, v->table->grad_kb);
    v->strided = FN(grad_w_strided)(p, whole);
    if (v->strided) {
        FN(strided_grad_size)(v);
        return;
    }
    v->strip = cnn_min(v->oh, cnn_max(1, GRAD_STRIP_BYTES / (v->table->grad_kb * v->ow * L * (ptrdiff_t)sizeof(REAL))));
    v->strips = cnn_ceil_div(v->oh, v->strip);
    v->units = lane_groups * v->strips;
    const double dw_bytes = (double)(p->k * v->columns) * sizeof(REAL);
    v->parts = cnn_min(v->units, cnn_ceil_div(GRAD_TASKS, v->blocks * p->groups));
    v->parts = cnn_max(1, cnn_min(v->parts, (ptrdiff_t)(GRAD_PARTS_BYTES / dw_bytes)));
}

/* Elements of the sums: of `parts` each, or of what strided_grad.c adds up. */
static ptrdiff_t FN(grad_w_sums)(const FN(grad_w) * v) {
    return v->p->k * (v->strided ? STRIDED_GRAD_SUMS * v->cin : v->parts * v->columns);
}

static void FN(grad_w_carve)(FN(grad_w) * v, cnn_carver *carver, int threads) {
    v->sums = cnn_carve(carver, FN(grad_w_sums)(v), sizeof(REAL));
    v->taps = cnn_carve(carver, v->columns, sizeof(ptrdiff_t));
    v->scratch = cnn_carve(carver, threads * v->scratch_size, sizeof(REAL));
}

static void FN(grad_w_begin)(FN(grad_w) * v) {
    const cnn_conv2d *p = v->p;
    const ptrdiff_t area = p->r * p->s;
    const FN(edge) *e = &v->x.edge;
    memset(v->sums, 0, (size_t)FN(grad_w_sums)(v) * sizeof(REAL));
    for (ptrdiff_t i = 0; i < v->columns; i++) {
        const ptrdiff_t c = i / area, r = i % area / p->s, s = i % p->s;
        v->taps[i] = ((c * e->rows + r * p->dilation_h) * e->cols + s * p->dilation_w) * v->table->lanes;
    }
}

/* Adds what lane groups [first, end) give, whose planes are packed. */
static void FN(grad_w_run)(FN(grad_w) * v, ptrdiff_t first, ptrdiff_t end, int threads) {
    v->first = first;
    v->end = end;
    const ptrdiff_t strided = STRIDED_GRAD_SUMS * v->strips * v->p->groups;
    if (v->strided) v->parts = cnn_min(v->blocks, cnn_ceil_div(threads * TASKS_PER_THREAD, strided));
    cnn_parallel_for(threads, v->parts * (v->strided ? strided : v->p->groups * v->blocks),
                     v->strided ? FN(strided_grad_task) : FN(grad_w_task), v);
}

static void FN(grad_w_finish)(const FN(grad_w) * v, int threads) {
    if (v->strided) cnn_parallel_for(threads, v->p->k, FN(strided_grad_taps), v);
    else cnn_parallel_for(threads, cnn_ceil_div(v->p->k * v->columns, SUM_CHUNK), FN(grad_w_sum), v);
}
