/* Local response normalisation: a task is a block of places of one image, through all channels. */

#define PLACES 256

typedef struct {
    const FN(cnn_table) * table;
    REAL *y, *t;
    const REAL *dy, *x;
    ptrdiff_t channels, plane, blocks;
    const cnn_response *p;
    int second; /* of the gradient's two passes */
} FN(responses);

static void FN(response_task)(const void *context, ptrdiff_t task, int thread) {
    const FN(responses) *v = context;
    const ptrdiff_t first = task % v->blocks * PLACES, n = cnn_min(PLACES, v->plane - first);
    const ptrdiff_t at = task / v->blocks * v->channels * v->plane + first;
    (void)thread;
    if (v->second) v->table->response_grad(v->y + at, v->t + at, v->x + at, v->channels, v->plane, n, v->p);
    else if (v->dy)
        v->table->response(v->y + at, v->t + at, v->dy + at, v->x + at, v->channels, v->plane, n, v->p);
    else v->table->response(v->y + at, NULL, NULL, v->x + at, v->channels, v->plane, n, v->p);
}

static void FN(responses_run)(FN(responses) * v, ptrdiff_t n) {
    v->table = FN(cnn_kernels)();
    v->blocks = cnn_ceil_div(v->plane, PLACES);
    const double work = (double)(v->p->before + v->p->after + 8) * (double)v->channels * (double)v->plane;
    cnn_parallel_for(cnn_threads_for(work * (double)n), n * v->blocks, FN(response_task), v);
}

void FN(cnn_local_response)(REAL *y, REAL *t, const REAL *dy, const REAL *x, ptrdiff_t n, ptrdiff_t c, ptrdiff_t m,
                            const cnn_response *p) {
    FN(responses) v = {.y = y, .t = t, .dy = dy, .x = x, .channels = c, .plane = m, .p = p};
    FN(responses_run)(&v, n);
    v.second = 1;
    if (dy) FN(responses_run)(&v, n);
}

#undef PLACES
