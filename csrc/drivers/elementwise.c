/* Activations, the loss and the optimizers' updates: an array is cut into chunks, rows into bands. */

#define CHUNK 16384

typedef struct {
    const FN(cnn_table) * table;
    REAL *y, *m, *v;
    const REAL *a, *b;
    ptrdiff_t size;
    void (*map)(REAL *y, const REAL *x, ptrdiff_t n);
    void (*map_grad)(REAL *dx, const REAL *dy, const REAL *x, ptrdiff_t n);
    REAL slope;
    FN(cnn_sgd) sgd;
    FN(cnn_adam) adam;
} FN(chunked);

static ptrdiff_t FN(chunk)(const FN(chunked) * v, ptrdiff_t task, ptrdiff_t *from) {
    *from = task * CHUNK;
    return cnn_min(CHUNK, v->size - *from);
}

static void FN(chunked_run)(const FN(chunked) * v, cnn_task body) {
    cnn_parallel_for(cnn_threads_for((double)v->size), cnn_ceil_div(v->size, CHUNK), body, v);
}

static void FN(map_task)(const void *context, ptrdiff_t task, int thread) {
    const FN(chunked) *v = context;
    ptrdiff_t i, n = FN(chunk)(v, task, &i);
    (void)thread;
    v->map(v->y + i, v->a + i, n);
}

static void FN(map_grad_task)(const void *context, ptrdiff_t task, int thread) {
    const FN(chunked) *v = context;
    ptrdiff_t i, n = FN(chunk)(v, task, &i);
    (void)thread;
    v->map_grad(v->y + i, v->a + i, v->b + i, n);
}

static void FN(leaky_relu_task)(const void *context, ptrdiff_t task, int thread) {
    const FN(chunked) *v = context;
    ptrdiff_t i, n = FN(chunk)(v, task, &i);
    (void)thread;
    if (v->b) v->table->leaky_relu_grad(v->y + i, v->a + i, v->b + i, &v->slope, n, 0);
    else v->table->leaky_relu(v->y + i, v->a + i, &v->slope, n, 0);
}

static void FN(sgd_task)(const void *context, ptrdiff_t task, int thread) {
    const FN(chunked) *v = context;
    ptrdiff_t i, n = FN(chunk)(v, task, &i);
    (void)thread;
    v->table->sgd(v->y + i, v->a + i, v->v ? v->v + i : NULL, n, &v->sgd);
}

static void FN(adam_task)(const void *context, ptrdiff_t task, int thread) {
    const FN(chunked) *v = context;
    ptrdiff_t i, n = FN(chunk)(v, task, &i);
    (void)thread;
    v->table->adam(v->y + i, v->a + i, v->m + i, v->v + i, n, &v->adam);
}

/* `work` is what an element costs, in multiply-adds. */
#define MAP(name, work)                                                                                          \
    void FN(cnn_##name##_forward)(REAL * y, const REAL *x, ptrdiff_t size) {                                     \
        const FN(chunked) v = {.map = FN(cnn_kernels)()->name, .y = y, .a = x, .size = size};                    \
        cnn_parallel_for(cnn_threads_for((work) * (double)size), cnn_ceil_div(size, CHUNK), FN(map_task), &v);   \
    }                                                                                                            \
    void FN(cnn_##name##_grad)(REAL * dx, const REAL *dy, const REAL *x, ptrdiff_t size) {                       \
        const FN(chunked) v = {.map_grad = FN(cnn_kernels)()->name##_grad, .y = dx, .a = dy, .b = x, .size = size}; \
        FN(chunked_run)(&v, FN(map_grad_task));                                                                  \
    }
MAP(relu, 1)
MAP(sigmoid, 4)
MAP(tanh, 4)
#undef MAP

void FN(cnn_leaky_relu_forward)(REAL *y, const REAL *x, ptrdiff_t size, double slope) {
    const FN(chunked) v = {.table = FN(cnn_kernels)(), .y = y, .a = x, .size = size, .slope = (REAL)slope};
    FN(chunked_run)(&v, FN(leaky_relu_task));
}

void FN(cnn_leaky_relu_grad)(REAL *dx, const REAL *dy, const REAL *x, ptrdiff_t size, double slope) {
    const FN(chunked) v = {.table = FN(cnn_kernels)(), .y = dx, .a = dy, .b = x, .size = size, .slope = (REAL)slope};
    FN(chunked_run)(&v, FN(leaky_relu_task));
}

void FN(cnn_sgd_step)(REAL *w, REAL *velocity, const REAL *g, ptrdiff_t size, double lr, double momentum, double decay,
                      int nesterov) {
    const FN(chunked) v = {.table = FN(cnn_kernels)(), .y = w, .v = velocity, .a = g, .size = size,
                           .sgd = {(REAL)lr, (REAL)momentum, (REAL)decay, nesterov}};
    FN(chunked_run)(&v, FN(sgd_task));
}

void FN(cnn_adam_step)(REAL *w, REAL *m, REAL *v2, const REAL *g, ptrdiff_t size, double step, double lr, double beta1,
                       double beta2, double eps, double decay, int decoupled) {
    const double shrink = decoupled ? 1 - lr * decay : 1, root = sqrt(1 - pow(beta2, step));
    const FN(chunked) v = {.table = FN(cnn_kernels)(), .y = w, .m = m, .v = v2, .a = g, .size = size,
                           .adam = {(REAL)beta1, (REAL)beta2, (REAL)(1 - beta1), (REAL)(1 - beta2), (REAL)eps,
                                    (REAL)(decoupled ? 0 : decay), (REAL)shrink,
                                    (REAL)(lr / (1 - pow(beta1, step))), (REAL)root}};
    FN(chunked_run)(&v, FN(adam_task));
}

/* ---- rows of scores: softmax and cross-entropy ------------------------------------------------------------- */

typedef struct {
    REAL *y;
    const REAL *x, *target;
    const int64_t *labels;
    ptrdiff_t n, c;
    double *losses;
} FN(rows);

/* y = exp(x - max); returns the sum. A NaN anywhere makes the row NaN. */
static REAL FN(exp_row)(REAL *y, const REAL *x, ptrdiff_t c, REAL *max) {
    REAL top = x[0], sum = 0;
    for (ptrdiff_t i = 1; i < c; i++) top = x[i] > top ? x[i] : top;
    for (ptrdiff_t i = 0; i < c; i++) sum += y[i] = REAL_EXP(x[i] - top);
    *max = top;
    return sum;
}

static void FN(softmax_task)(const void *context, ptrdiff_t row, int thread) {
    const FN(rows) *v = context;
    REAL *y = v->y + row * v->c, max;
    const REAL sum = FN(exp_row)(y, v->x + row * v->c, v->c, &max);
    (void)thread;
    for (ptrdiff_t i = 0; i < v->c; i++) y[i] /= sum;
}

static void FN(softmax_grad_task)(const void *context, ptrdiff_t row, int thread) {
    const FN(rows) *v = context;
    REAL *dx = v->y + row * v->c, dot = 0;
    const REAL *dy = v->x + row * v->c, *y = v->target + row * v->c;
    (void)thread;
    for (ptrdiff_t i = 0; i < v->c; i++) dot += dy[i] * y[i];
    for (ptrdiff_t i = 0; i < v->c; i++) dx[i] = y[i] * (dy[i] - dot);
}

#define ROWS_WORK 20.0 /* an exponential, in multiply-adds */

void FN(cnn_softmax_forward)(REAL *y, const REAL *x, ptrdiff_t n, ptrdiff_t c) {
    const FN(rows) v = {.y = y, .x = x, .n = n, .c = c};
    cnn_parallel_for(cnn_threads_for(ROWS_WORK * (double)n * (double)c), n, FN(softmax_task), &v);
}

void FN(cnn_softmax_grad)(REAL *dx, const REAL *dy, const REAL *y, ptrdiff_t n, ptrdiff_t c) {
    const FN(rows) v = {.y = dx, .x = dy, .target = y, .n = n, .c = c};
    cnn_parallel_for(cnn_threads_for((double)n * (double)c), n, FN(softmax_grad_task), &v);
}

static void FN(cross_entropy_task)(const void *context, ptrdiff_t row, int thread) {
    const FN(rows) *v = context;
    const REAL *x = v->x + row * v->c, *target = v->target ? v->target + row * v->c : NULL;
    REAL *dx = v->y + row * v->c, max;
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
    const REAL sum = FN(exp_row)(dx, x, v->c, &max);
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
    const FN(rows) v = {.y = dx, .x = x, .target = target, .labels = labels, .n = n, .c = c, .losses = losses};
    cnn_parallel_for(cnn_threads_for(ROWS_WORK * (double)n * (double)c), n, FN(cross_entropy_task), &v);
    double sum = 0;
    for (ptrdiff_t i = 0; i < n; i++) sum += losses[i];
    *value = sum / (double)n;
    return CNN_OK;
}
