/* Average-pooling where the window is the plane: sums of rows of numbers, no lane layout needed. Included once per REAL. */

typedef struct {
    const FN(cnn_table) * table;
    REAL *to;
    const REAL *from;
    ptrdiff_t planes, size, chunk;
    int gradient;
} FN(means);

static void FN(means_task)(const void *context, ptrdiff_t task, int thread) {
    const FN(means) *v = context;
    const ptrdiff_t first = task * v->chunk, planes = cnn_min(v->chunk, v->planes - first);
    (void)thread;
    if (v->gradient) v->table->mean_each_grad(v->to + first * v->size, v->from + first, planes, v->size);
    else v->table->mean_each(v->to + first, v->from + first * v->size, planes, v->size);
}

#define MEANS_BYTES (64 << 10) /* planes of a task: enough to make up for starting it */

/* y from x, or dx from dy, if p is of this kind; else 0. */
static int FN(means_run)(REAL *to, const REAL *from, const cnn_pool2d *p, int gradient) {
    if (p->lanes || p->kernel_h != p->h || p->kernel_w != p->w || p->pad_h || p->pad_w || p->oh * p->ow > 1) return 0;
    const ptrdiff_t size = p->h * p->w;
    FN(means) v = {FN(cnn_kernels)(), to, from, p->planes, size, 0, gradient};
    v.chunk = cnn_ceil_div(MEANS_BYTES, size * v.table->lanes * (ptrdiff_t)sizeof(REAL)) * v.table->lanes;
    const int threads = cnn_threads_for((double)p->planes * (double)size / 2);
    cnn_parallel_for(threads, cnn_ceil_div(p->planes, v.chunk), FN(means_task), &v);
    return 1;
}
