/* The dense product and its gradients: three ways to read one tile kernel.
 *
 *   forward  y' = w x': rows are outputs (scalars of w, read in place), vectors are L images of x in lane layout.
 *            Below half a vector of images each output is a dot product instead, vectors run along the inputs.
 *   grad_x   rows are images (scalars of dy), vectors run along the inputs in w, read in place.
 *   grad_w   rows are outputs (scalars of dy), vectors run along the inputs in x, read in place.
 * w, the large one, is never packed. A task is a panel of columns; DEPTH bounds what a panel keeps in cache. */

#define DEPTH 2048

typedef struct {
    const FN(cnn_table) * table;
    REAL *c;
    const REAL *a, *b, *bias;
    ptrdiff_t rows, cols, depth;           /* c: rows×cols; cols in elements, a multiple of L in lane layout */
    ptrdiff_t c_i, c_j, a_i, a_p, b_p, b_j; /* strides as in cnn_gemm_tile */
    ptrdiff_t rows_per_task;
} FN(product);

static void FN(product_task)(const void *context, ptrdiff_t task, int thread) {
    const FN(product) *v = context;
    const ptrdiff_t L = v->table->lanes, nb = v->table->gemm_nb, mb = v->table->gemm_mb;
    const ptrdiff_t vectors = cnn_ceil_div(v->cols, L), panels = cnn_ceil_div(vectors, nb);
    const ptrdiff_t panel = task % panels, from = vectors * panel / panels, to = vectors * (panel + 1) / panels;
    const ptrdiff_t first = task / panels * v->rows_per_task, last = cnn_min(v->rows, first + v->rows_per_task);
    const ptrdiff_t tiles = cnn_ceil_div(last - first, mb);
    FN(cnn_gemm_tile) tile = {.c_i = v->c_i, .c_j = v->c_j, .a_i = v->a_i, .a_p = v->a_p, .b_p = v->b_p, .b_j = v->b_j,
                              .tail = (int)cnn_min(L, v->cols - (to - 1) * L)};
    (void)thread;
    for (ptrdiff_t p = 0; p < v->depth; p += DEPTH) {
        tile.depth = cnn_min(DEPTH, v->depth - p);
        tile.accumulate = p > 0;
        tile.b = v->b + p * v->b_p + from * v->b_j;
        for (ptrdiff_t i = 0; i < tiles; i++) {
            const ptrdiff_t row = first + (last - first) * i / tiles, end = first + (last - first) * (i + 1) / tiles;
            tile.c = v->c + row * v->c_i + from * v->c_j;
            tile.a = v->a + row * v->a_i + p * v->a_p;
            tile.bias = v->bias && p == 0 ? v->bias + row : NULL;
            v->table->gemm_tile(&tile, (int)(end - row), (int)(to - from));
        }
    }
}

/* Panels are the unit of sharing; where there are fewer panels than threads can use, rows are split as well. */
static void FN(product_run)(FN(product) * v) {
    const int threads = cnn_threads_for((double)v->rows * (double)v->cols * (double)v->depth / 4);
    const ptrdiff_t panels = cnn_ceil_div(cnn_ceil_div(v->cols, v->table->lanes), v->table->gemm_nb);
    const ptrdiff_t split = threads > 1 ? cnn_ceil_div(TASKS_PER_THREAD * threads, panels) : 1;
    v->rows_per_task = cnn_ceil_div(cnn_ceil_div(v->rows, v->table->gemm_mb), split) * v->table->gemm_mb;
    cnn_parallel_for(threads, panels * cnn_ceil_div(v->rows, v->rows_per_task), FN(product_task), v);
}

typedef struct {
    const FN(cnn_table) * table;
    REAL *y;
    const REAL *x, *w, *b;
    ptrdiff_t n, outputs, inputs;
} FN(dense);

#define DOT_OUTPUTS 64

static void FN(dot_task)(const void *context, ptrdiff_t task, int thread) {
    const FN(dense) *v = context;
    const ptrdiff_t from = task * DOT_OUTPUTS, count = cnn_min(DOT_OUTPUTS, v->outputs - from);
    (void)thread;
    for (ptrdiff_t n = 0; n < v->n; n++)
        v->table->dot(v->y + n * v->outputs + from, v->x + n * v->inputs, v->w + from * v->inputs,
                      v->b ? v->b + from : NULL, count, v->inputs);
}

typedef struct {
    const FN(cnn_table) * table;
    REAL *to;
    const REAL *from;
    ptrdiff_t rows, cols;
} FN(rows_edge);

/* Rows of a matrix, L at a time, to lane layout and back. */
static void FN(rows_to_lanes)(const void *context, ptrdiff_t g, int thread) {
    const FN(rows_edge) *v = context;
    const ptrdiff_t L = v->table->lanes, at = g * L * v->cols;
    (void)thread;
    v->table->lanes_from_planes(v->to + at, v->from + at, v->cols, (int)cnn_min(L, v->rows - g * L), v->cols);
}

static void FN(lanes_to_rows)(const void *context, ptrdiff_t g, int thread) {
    const FN(rows_edge) *v = context;
    const ptrdiff_t L = v->table->lanes, at = g * L * v->cols;
    (void)thread;
    v->table->planes_from_lanes(v->to + at, v->cols, (int)cnn_min(L, v->rows - g * L), v->from + at, v->cols);
}

cnn_status FN(cnn_linear_forward)(REAL *y, const REAL *x, const REAL *w, const REAL *b, ptrdiff_t n, ptrdiff_t outputs,
                                  ptrdiff_t inputs) {
    if (n < 1 || outputs < 1 || inputs < 1) return CNN_BAD_SIZE;
    const FN(cnn_table) *t = FN(cnn_kernels)();
    const ptrdiff_t L = t->lanes, lane_groups = cnn_ceil_div(n, L);
    if (2 * n <= L) {
        const FN(dense) v = {t, y, x, w, b, n, outputs, inputs};
        const int threads = cnn_threads_for((double)n * (double)outputs * (double)inputs / 4);
        cnn_parallel_for(threads, cnn_ceil_div(outputs, DOT_OUTPUTS), FN(dot_task), &v);
        return CNN_OK;
    }
    REAL *x_lanes = NULL, *y_lanes = NULL;
    cnn_carver carver = {0};
    for (int pass = 0; pass < 2; pass++) {
        if (pass && !(carver.base = carver.overflow ? NULL : cnn_workspace(carver.used))) return CNN_NO_MEMORY;
        carver.used = 0;
        x_lanes = cnn_carve(&carver, lane_groups * inputs * L, sizeof(REAL));
        y_lanes = cnn_carve(&carver, lane_groups * outputs * L, sizeof(REAL));
    }
    const FN(rows_edge) in = {t, x_lanes, x, n, inputs}, out = {t, y, y_lanes, n, outputs};
    cnn_parallel_for(cnn_threads_for((double)n * (double)inputs), lane_groups, FN(rows_to_lanes), &in);
    FN(product) v = {.table = t, .c = y_lanes, .a = w, .b = x_lanes, .bias = b, .rows = outputs, .cols = lane_groups * L,
                     .depth = inputs, .c_i = L, .c_j = outputs * L, .a_i = inputs, .a_p = 1, .b_p = L,
                     .b_j = inputs * L};
    FN(product_run)(&v);
    cnn_parallel_for(cnn_threads_for((double)n * (double)outputs), lane_groups, FN(lanes_to_rows), &out);
    return CNN_OK;
}

cnn_status FN(cnn_linear_grad_x)(REAL *dx, const REAL *dy, const REAL *w, ptrdiff_t n, ptrdiff_t outputs,
                                 ptrdiff_t inputs) {
    if (n < 1 || outputs < 1 || inputs < 1) return CNN_BAD_SIZE;
    const FN(cnn_table) *t = FN(cnn_kernels)();
    FN(product) v = {.table = t, .c = dx, .a = dy, .b = w, .rows = n, .cols = inputs, .depth = outputs, .c_i = inputs,
                     .c_j = t->lanes, .a_i = outputs, .a_p = 1, .b_p = inputs, .b_j = t->lanes};
    FN(product_run)(&v);
    return CNN_OK;
}

cnn_status FN(cnn_linear_grad_w)(REAL *dw, const REAL *dy, const REAL *x, ptrdiff_t n, ptrdiff_t outputs,
                                 ptrdiff_t inputs) {
    if (n < 1 || outputs < 1 || inputs < 1) return CNN_BAD_SIZE;
    const FN(cnn_table) *t = FN(cnn_kernels)();
    FN(product) v = {.table = t, .c = dw, .a = dy, .b = x, .rows = outputs, .cols = inputs, .depth = n, .c_i = inputs,
                     .c_j = t->lanes, .a_i = 1, .a_p = outputs, .b_p = inputs, .b_j = t->lanes};
    FN(product_run)(&v);
    return CNN_OK;
}

cnn_status FN(cnn_linear_grad_b)(REAL *db, const REAL *dy, ptrdiff_t n, ptrdiff_t outputs) {
    if (n < 1 || outputs < 1) return CNN_BAD_SIZE;
    FN(cnn_kernels)()->sum_rows(db, dy, n, outputs, 0, outputs);
    return CNN_OK;
}

/* Small tasks, so that a thread that wakes late finds less left to do instead of making the others wait. */
#define PEAK_TASKS 64

typedef struct {
    const FN(cnn_table) * table;
    ptrdiff_t n;
} FN(peak);

static void FN(peak_task)(const void *context, ptrdiff_t task, int thread) {
    const FN(peak) *v = context;
    REAL sum;
    (void)task;
    (void)thread;
    v->table->fma_peak(&sum, v->n);
}

double FN(cnn_fma_peak)(ptrdiff_t n) {
    const FN(peak) v = {FN(cnn_kernels)(), n};
    const int threads = cnn_get_threads();
    cnn_parallel_for(threads, (ptrdiff_t)threads * PEAK_TASKS, FN(peak_task), &v);
    return 2.0 * (double)n * v.table->lanes * threads * PEAK_TASKS;
}
