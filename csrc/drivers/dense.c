/* The fully-connected layer, forward.
 *
 *   forward  y' = w x': rows are outputs (scalars of w, read in place), vectors are L images of x in lanes.
 *            Up to half a vector of images, each output is a dot product instead, vectors run along the inputs.
 * w, the large one, is never packed. What lies in the other layout is converted at the edge. */

/* Rows of a matrix, L at a time, to lanes and back. */
typedef struct {
    const FN(cnn_table) * table;
    REAL *to;
    const REAL *from;
    ptrdiff_t rows, cols;
} FN(rows_edge);

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

static void FN(convert_rows)(const FN(cnn_table) * t, REAL *to, const REAL *from, ptrdiff_t rows, ptrdiff_t cols,
                             int to_lanes) {
    const FN(rows_edge) v = {t, to, from, rows, cols};
    cnn_parallel_for(cnn_threads_for((double)rows * (double)cols), cnn_ceil_div(rows, t->lanes),
                     to_lanes ? FN(rows_to_lanes) : FN(lanes_to_rows), &v);
}

/* ---- forward ----------------------------------------------------------------------------------------------- */

#define DEPTH 2048 /* most inputs at a time: bounds what a panel of x keeps in cache */

typedef struct {
    const FN(cnn_table) * table;
    FN(cnn_gemm_tile) tile;
    ptrdiff_t rows, cols, depth, row_parts, col_parts;
    int relu;
} FN(product);

static void FN(product_task)(const void *context, ptrdiff_t task, int thread) {
    const FN(product) *v = context;
    const ptrdiff_t L = v->table->lanes, vectors = v->cols / L, blocks = cnn_ceil_div(v->depth, DEPTH);
    const ptrdiff_t part = task / v->col_parts;
    const ptrdiff_t from = vectors * (task % v->col_parts) / v->col_parts;
    const ptrdiff_t to = vectors * (task % v->col_parts + 1) / v->col_parts;
    const ptrdiff_t row = v->rows * part / v->row_parts, end = v->rows * (part + 1) / v->row_parts;
    (void)thread;
    for (ptrdiff_t k = 0; k < blocks; k++) {
        const ptrdiff_t p = v->depth * k / blocks;
        FN(cnn_gemm_tile) tile = v->tile;
        tile.c += row * tile.c_i + from * tile.c_j;
        tile.a += row * tile.a_i + p * tile.a_p;
        tile.b += from * tile.b_j + p * tile.b_p;
        tile.bias = tile.bias && k == 0 ? tile.bias + row : NULL;
        tile.depth = v->depth * (k + 1) / blocks - p;
        tile.accumulate = k > 0;
        tile.relu = v->relu && k == blocks - 1;
        FN(multiply)(v->table, tile, end - row, (to - from) * L, NULL);
    }
}

/* Threads share out rows first, so that w is read once; then panels, where there are few rows. */
static void FN(product_run)(FN(product) * v) {
    const int threads = cnn_threads_for((double)v->rows * (double)v->cols * (double)v->depth / 4);
    const ptrdiff_t tasks = threads > 1 ? TASKS_PER_THREAD * threads : 1, mb = v->table->gemm_mb;
    v->row_parts = cnn_min(tasks, cnn_ceil_div(v->rows, mb));
    v->col_parts = cnn_min(cnn_ceil_div(tasks, v->row_parts), cnn_ceil_div(v->cols / v->table->lanes, v->table->gemm_nb));
    cnn_parallel_for(threads, v->row_parts * v->col_parts, FN(product_task), v);
}

typedef struct {
    const FN(cnn_table) * table;
    FN(cnn_dots) dots;
} FN(dots);

#define DOT_OUTPUTS 60 /* outputs of a task: a multiple of what the kernel takes at a time */

static void FN(dots_task)(const void *context, ptrdiff_t task, int thread) {
    const FN(dots) *v = context;
    (void)thread;
    v->table->dots(&v->dots, task * DOT_OUTPUTS, cnn_min((task + 1) * DOT_OUTPUTS, v->dots.outputs));
}

static int FN(linear_valid)(const cnn_linear *p) { return p->n > 0 && p->outputs > 0 && p->inputs > 0; }

cnn_status FN(cnn_linear_forward)(REAL *y, const REAL *x, const REAL *w, const REAL *b, const cnn_linear *p) {
    if (!FN(linear_valid)(p)) return CNN_BAD_SIZE;
    const FN(cnn_table) *t = FN(cnn_kernels)();
    const ptrdiff_t L = t->lanes, samples = cnn_ceil_div(p->n, L) * L, outputs = p->outputs, inputs = p->inputs;
    const int by_lanes = 2 * p->n > L;
    const int convert_x = (p->x_lanes != 0) != by_lanes, convert_y = (p->y_lanes != 0) != by_lanes;
    REAL *x_there = NULL, *y_here = y;
    cnn_carver carver = {0};
    for (int pass = 0; pass < 2 && (convert_x || convert_y); pass++) {
        if (pass && !(carver.base = carver.overflow ? NULL : cnn_workspace(carver.used))) return CNN_NO_MEMORY;
        carver.used = 0;
        if (convert_x) x_there = cnn_carve(&carver, samples * inputs, sizeof(REAL));
        if (convert_y) y_here = cnn_carve(&carver, samples * outputs, sizeof(REAL));
    }
    if (convert_x) FN(convert_rows)(t, x_there, x, p->n, inputs, by_lanes);
    const REAL *x_here = convert_x ? x_there : x;
    if (by_lanes) {
        FN(product) v = {.table = t, .rows = outputs, .cols = samples, .depth = inputs, .relu = p->relu,
                         .tile = {.c = y_here, .a = w, .b = x_here, .bias = b, .c_i = L, .c_j = outputs * L,
                                  .a_i = inputs, .a_p = 1, .b_p = L, .b_j = inputs * L}};
        FN(product_run)(&v);
    } else {
        const FN(dots) v = {t, {y_here, x_here, w, b, p->n, outputs, inputs, p->relu}};
        const int threads = cnn_threads_for((double)p->n * (double)outputs * (double)inputs / 4);
        cnn_parallel_for(threads, cnn_ceil_div(outputs, DOT_OUTPUTS), FN(dots_task), &v);
    }
    if (convert_y) FN(convert_rows)(t, y, y_here, p->n, outputs, !by_lanes);
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
