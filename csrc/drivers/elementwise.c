/* Activations and the loss: an array is cut into chunks, rows into bands. */

#define CHUNK 16384

typedef struct {
    const FN(cnn_table) * table;
    FN(cnn_fill) fill;
    REAL *y;
    const REAL *a, *b, *c; /* inputs */
    ptrdiff_t size;
    int stream;
    cnn_operation operation;
    cnn_activation activation;
    REAL scale, offset; /* or the activation's parameters */
} FN(chunked);

static void FN(chunk_task)(const void *context, ptrdiff_t task, int thread) {
    const FN(chunked) *v = context;
    const ptrdiff_t from = task * CHUNK;
    (void)thread;
    FN(cnn_deliver)(v->y, from, cnn_min(CHUNK, v->size - from), v->stream, v->fill, v);
    if (v->stream) v->table->fence();
}

/* `work` is what an element costs, in multiply-adds. What is read and written at one place is in the cache already. */
static void FN(chunked_run)(FN(chunked) * v, FN(cnn_fill) fill, double work) {
    v->table = FN(cnn_kernels)();
    v->fill = fill;
    v->stream = FN(cnn_streams)(v->size) && v->y != v->a && v->y != v->b && v->y != v->c;
    cnn_parallel_for(cnn_threads_for(work * (double)v->size), cnn_ceil_div(v->size, CHUNK), FN(chunk_task), v);
}

/* The chunks' bodies: y receives elements [i, i + n). */
#define FILL(name, call)                                                                                   \
    static void FN(name##_fill)(const void *context, REAL *y, ptrdiff_t i, ptrdiff_t n, int stream) {      \
        const FN(chunked) *v = context;                                                                    \
        (void)stream;                                                                                      \
        call;                                                                                              \
    }
FILL(relu, v->table->relu(y, v->a + i, n, stream))
FILL(relu_grad, v->table->relu_grad(y, v->a + i, v->b + i, n, stream))
FILL(activation, v->table->activation(y, v->b ? v->b + i : NULL, v->a + i, n, stream, v->activation, v->scale, v->offset))
FILL(arithmetic, v->table->arithmetic(y, v->a + i, v->b + i, n, stream, v->operation))
FILL(divide_grad_b, v->table->divide_grad_b(y, v->a + i, v->b + i, v->c + i, n, stream))
FILL(affine, v->table->affine(y, v->a + i, n, stream, v->scale, v->offset))
FILL(reciprocal, v->table->reciprocal(y, v->a + i, n, stream, v->scale))
#undef FILL

void FN(cnn_relu_forward)(REAL *y, const REAL *x, ptrdiff_t size) {
    FN(chunked) v = {.y = y, .a = x, .size = size};
    FN(chunked_run)(&v, FN(relu_fill), 1);
}

void FN(cnn_relu_grad)(REAL *dx, const REAL *dy, const REAL *x, ptrdiff_t size) {
    FN(chunked) v = {.y = dx, .a = dy, .b = x, .size = size};
    FN(chunked_run)(&v, FN(relu_grad_fill), 1);
}

#define CURVE_WORK 4 /* an exponential, in multiply-adds that wait for memory */

void FN(cnn_activation)(REAL *y, const REAL *dy, const REAL *x, ptrdiff_t size, cnn_activation kind, double a,
                        double b) {
    FN(chunked) v = {.y = y, .a = x, .b = dy, .size = size, .activation = kind, .scale = (REAL)a, .offset = (REAL)b};
    FN(chunked_run)(&v, FN(activation_fill), CURVE_WORK);
}

void FN(cnn_arithmetic)(REAL *y, const REAL *a, const REAL *b, ptrdiff_t size, cnn_operation operation) {
    FN(chunked) v = {.y = y, .a = a, .b = b, .size = size, .operation = operation};
    FN(chunked_run)(&v, FN(arithmetic_fill), 1);
}

void FN(cnn_divide_grad_b)(REAL *db, const REAL *dy, const REAL *b, const REAL *y, ptrdiff_t size) {
    FN(chunked) v = {.y = db, .a = dy, .b = b, .c = y, .size = size};
    FN(chunked_run)(&v, FN(divide_grad_b_fill), 1);
}

void FN(cnn_affine)(REAL *y, const REAL *x, ptrdiff_t size, double scale, double offset) {
    FN(chunked) v = {.y = y, .a = x, .size = size, .scale = (REAL)scale, .offset = (REAL)offset};
    FN(chunked_run)(&v, FN(affine_fill), 1);
}

void FN(cnn_reciprocal)(REAL *y, const REAL *x, ptrdiff_t size, double numerator) {
    FN(chunked) v = {.y = y, .a = x, .size = size, .scale = (REAL)numerator};
    FN(chunked_run)(&v, FN(reciprocal_fill), 1);
}

typedef struct {
    const FN(cnn_table) * table;
    const REAL *x;
    ptrdiff_t size;
    int *finite;
} FN(looked_at);

static void FN(finite_task)(const void *context, ptrdiff_t task, int thread) {
    const FN(looked_at) *v = context;
    const ptrdiff_t from = task * CHUNK;
    int finite = 1;
    (void)thread;
    v->table->finite(&finite, v->x + from, cnn_min(CHUNK, v->size - from), 1, 0);
    if (!finite) __atomic_store_n(v->finite, 0, __ATOMIC_RELAXED);
}

int FN(cnn_all_finite)(const REAL *x, ptrdiff_t size) {
    int finite = 1;
    const FN(looked_at) v = {FN(cnn_kernels)(), x, size, &finite};
    cnn_parallel_for(cnn_threads_for((double)size / 4), cnn_ceil_div(size, CHUNK), FN(finite_task), &v);
    return finite;
}

/* ---- rows of scores: softmax and cross-entropy ------------------------------------------------------------- */

typedef struct {
    const FN(cnn_table) * table;
    REAL *y;
    const REAL *x, *target;
    const int64_t *labels;
    ptrdiff_t n, c;
    double *losses;
} FN(rows);

static void FN(softmax_task)(const void *context, ptrdiff_t row, int thread) {
    const FN(rows) *v = context;
    REAL *y = v->y + row * v->c, max, sum;
    (void)thread;
    v->table->exp_row(y, v->x + row * v->c, v->c, &max, &sum);
    v->table->affine(y, y, v->c, 0, 1 / sum, 0);
}

static void FN(softmax_grad_task)(const void *context, ptrdiff_t row, int thread) {
    const FN(rows) *v = context;
    REAL *dx = v->y + row * v->c, dot = 0;
    const REAL *dy = v->x + row * v->c, *y = v->target + row * v->c;
    (void)thread;
    for (ptrdiff_t i = 0; i < v->c; i++) dot += dy[i] * y[i];
    for (ptrdiff_t i = 0; i < v->c; i++) dx[i] = y[i] * (dy[i] - dot);
}

static void FN(log_softmax_task)(const void *context, ptrdiff_t row, int thread) {
    const FN(rows) *v = context;
    REAL *y = v->y + row * v->c, max, sum;
    (void)thread;
    v->table->exp_row(NULL, v->x + row * v->c, v->c, &max, &sum);
    v->table->affine(y, v->x + row * v->c, v->c, 0, 1, -max);
    v->table->affine(y, y, v->c, 0, 1, (REAL)-log((double)sum));
}

static void FN(log_softmax_grad_task)(const void *context, ptrdiff_t row, int thread) {
    const FN(rows) *v = context;
    REAL *dx = v->y + row * v->c, max, sum;
    const REAL *dy = v->x + row * v->c, *y = v->target + row * v->c;
    double total = 0;
    (void)thread;
    v->table->exp_row(dx, y, v->c, &max, &sum);
    for (ptrdiff_t i = 0; i < v->c; i++) total += dy[i];
    const REAL share = (REAL)(total * exp((double)max));
    for (ptrdiff_t i = 0; i < v->c; i++) dx[i] = dy[i] - dx[i] * share;
}

#define ROWS_WORK 20.0 /* an exponential, in multiply-adds */

void FN(cnn_softmax_forward)(REAL *y, const REAL *x, ptrdiff_t n, ptrdiff_t c, int log) {
    const FN(rows) v = {.table = FN(cnn_kernels)(), .y = y, .x = x, .n = n, .c = c};
    const int threads = cnn_threads_for(ROWS_WORK * (double)n * (double)c);
    cnn_parallel_for(threads, n, log ? FN(log_softmax_task) : FN(softmax_task), &v);
}

void FN(cnn_softmax_grad)(REAL *dx, const REAL *dy, const REAL *y, ptrdiff_t n, ptrdiff_t c, int log) {
    const FN(rows) v = {.table = FN(cnn_kernels)(), .y = dx, .x = dy, .target = y, .n = n, .c = c};
    const int threads = cnn_threads_for((log ? ROWS_WORK : 1) * (double)n * (double)c);
    cnn_parallel_for(threads, n, log ? FN(log_softmax_grad_task) : FN(softmax_grad_task), &v);
}

static void FN(cross_entropy_task)(const void *context, ptrdiff_t row, int thread) {
    const FN(rows) *v = context;
    const REAL *x = v->x + row * v->c, *target = v->target ? v->target + row * v->c : NULL;
    REAL *dx = v->y + row * v->c, max, sum;
    double loss = 0, mass = 1;
    (void)thread;
    /* The scores that the loss needs, before dx (which may be x) takes their place. */
    const REAL chosen = target ? 0 : x[v->labels[row]];
    if (target) {
        mass = 0;
        for (ptrdiff_t i = 0; i < v->c; i++) {
            mass += target[i];
            loss -= target[i] ? (double)target[i] * x[i] : 0;
        }
    }
    v->table->exp_row(dx, x, v->c, &max, &sum);
    const double log_sum = (double)max + log((double)sum);
    v->losses[row] = target ? loss + mass * log_sum : log_sum - (double)chosen;
    const REAL scale = (REAL)(mass / ((double)sum * (double)v->n)), share = (REAL)(1.0 / (double)v->n);
    for (ptrdiff_t i = 0; i < v->c; i++) dx[i] = dx[i] * scale - (target ? target[i] * share : 0);
    if (!target) dx[v->labels[row]] -= share;
}

cnn_status FN(cnn_cross_entropy)(double *value, REAL *dx, const REAL *x, const int64_t *labels, const REAL *target,
                                 ptrdiff_t n, ptrdiff_t c) {
    cnn_carver carver = {0};
    cnn_carve(&carver, n, sizeof(double));
    double *losses = carver.overflow ? NULL : cnn_workspace(carver.used);
    if (!losses) return CNN_NO_MEMORY;
    const FN(rows) v = {FN(cnn_kernels)(), dx, x, target, labels, n, c, losses};
    cnn_parallel_for(cnn_threads_for(ROWS_WORK * (double)n * (double)c), n, FN(cross_entropy_task), &v);
    double sum = 0;
    for (ptrdiff_t i = 0; i < n; i++) sum += losses[i];
    *value = sum / (double)n;
    return CNN_OK;
}
