/* Losses of elements: a task takes a chunk, adds up in REAL within a block and in double beyond it. */

#define LOSS_BLOCK 1024

typedef struct {
    const FN(cnn_table) * table;
    REAL *dx;
    const REAL *x, *target;
    double *sums; /* of the chunks */
    ptrdiff_t size;
    cnn_loss kind;
    REAL share;
} FN(losses);

static void FN(loss_task)(const void *context, ptrdiff_t task, int thread) {
    const FN(losses) *v = context;
    const ptrdiff_t end = cnn_min(v->size, (task + 1) * CHUNK);
    (void)thread;
    v->sums[task] = 0;
    for (ptrdiff_t i = task * CHUNK; i < end; i += LOSS_BLOCK) {
        double sum;
        v->table->loss(&sum, v->dx + i, v->x + i, v->target + i, cnn_min(LOSS_BLOCK, end - i), v->kind, v->share);
        v->sums[task] += sum;
    }
}

cnn_status FN(cnn_loss)(double *value, REAL *dx, const REAL *x, const REAL *target, ptrdiff_t n, ptrdiff_t size,
                        cnn_loss kind) {
    const ptrdiff_t chunks = cnn_ceil_div(size, CHUNK);
    const double work = kind < CNN_BINARY ? 1 : 10; /* of an element, in multiply-adds */
    if (n < 1 || size < 1) return CNN_BAD_SIZE;
    cnn_carver carver = {0};
    cnn_carve(&carver, chunks, sizeof(double));
    double *sums = carver.overflow ? NULL : cnn_workspace(carver.used);
    if (!sums) return CNN_NO_MEMORY;
    const FN(losses) v = {FN(cnn_kernels)(), dx, x, target, sums, size, kind, (REAL)(1.0 / (double)n)};
    cnn_parallel_for(cnn_threads_for(work * (double)size), chunks, FN(loss_task), &v);
    double sum = 0;
    for (ptrdiff_t i = 0; i < chunks; i++) sum += sums[i];
    *value = sum / (double)n;
    return CNN_OK;
}
