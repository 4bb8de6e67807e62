/* Samples, one after the other, to lane layout and back: n rows of `size` numbers each, L rows at a time. */

#define RELAYOUT_CHUNK 2048

typedef struct {
    const FN(cnn_table) * table;
    REAL *to;
    const REAL *from;
    ptrdiff_t n, size, chunks;
    int back;
} FN(relayout);

static void FN(relayout_task)(const void *context, ptrdiff_t task, int thread) {
    const FN(relayout) *v = context;
    const ptrdiff_t L = v->table->lanes, first = task / v->chunks * L, at = task % v->chunks * RELAYOUT_CHUNK;
    const ptrdiff_t rows = first * v->size + at, lanes = first * v->size + at * L;
    const ptrdiff_t count = cnn_min(RELAYOUT_CHUNK, v->size - at);
    const int planes = (int)cnn_min(L, v->n - first);
    (void)thread;
    if (v->back) v->table->planes_from_lanes(v->to + rows, v->size, planes, v->from + lanes, count);
    else v->table->lanes_from_planes(v->to + lanes, v->from + rows, v->size, planes, count);
}

static cnn_status FN(relayout_run)(REAL *to, const REAL *from, ptrdiff_t n, ptrdiff_t size, int back) {
    if (n < 1 || size < 1) return CNN_BAD_SIZE;
    const FN(relayout) v = {FN(cnn_kernels)(), to, from, n, size, cnn_ceil_div(size, RELAYOUT_CHUNK), back};
    cnn_parallel_for(cnn_threads_for((double)n * (double)size), cnn_ceil_div(n, v.table->lanes) * v.chunks,
                     FN(relayout_task), &v);
    return CNN_OK;
}

cnn_status FN(cnn_to_lanes)(REAL *y, const REAL *x, ptrdiff_t n, ptrdiff_t size) {
    return FN(relayout_run)(y, x, n, size, 0);
}

cnn_status FN(cnn_from_lanes)(REAL *x, const REAL *y, ptrdiff_t n, ptrdiff_t size) {
    return FN(relayout_run)(x, y, n, size, 1);
}
