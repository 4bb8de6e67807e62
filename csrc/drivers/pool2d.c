/* Pooling: any L planes at a time to lane layout, pooled there, and back, in per-thread scratch. */

enum { POOL_MAX, POOL_MAX_GRAD, POOL_AVG, POOL_AVG_GRAD };

typedef struct {
    const FN(cnn_table) * table;
    FN(cnn_pool) pool;
    int kind;
    ptrdiff_t planes, size; /* size: scratch elements per thread */
    REAL *out, *scratch;
    const REAL *small, *large; /* the arrays of output and input size that are read; either may be NULL */
} FN(pooling);

static void FN(pool_task)(const void *context, ptrdiff_t task, int thread) {
    const FN(pooling) *v = context;
    const FN(cnn_table) *t = v->table;
    const FN(cnn_pool) *p = &v->pool;
    const ptrdiff_t L = t->lanes, in = p->h * p->w, out = p->oh * p->ow, first = task * L;
    const int planes = (int)cnn_min(L, v->planes - first);
    REAL *large = v->scratch + thread * v->size, *small = large + in * L, *result = small + out * L;
    if (v->large) t->lanes_from_planes(large, v->large + first * in, in, planes, in);
    if (v->small) t->lanes_from_planes(small, v->small + first * out, out, planes, out);
    switch (v->kind) {
        case POOL_MAX: t->max_pool(small, large, p); break;
        case POOL_AVG: t->avg_pool(small, large, p); break;
        case POOL_MAX_GRAD: t->max_pool_grad(result, small, large, p); break;
        case POOL_AVG_GRAD: t->avg_pool_grad(large, small, p); break;
    }
    if (v->kind == POOL_MAX || v->kind == POOL_AVG) t->planes_from_lanes(v->out + first * out, out, planes, small, out);
    else t->planes_from_lanes(v->out + first * in, in, planes, v->kind == POOL_MAX_GRAD ? result : large, in);
}

static cnn_status FN(pool_run)(int kind, REAL *result, const REAL *small, const REAL *large, const cnn_pool2d *p) {
    if (!cnn_pool2d_valid(p)) return CNN_BAD_SIZE;
    FN(pooling) v = {.table = FN(cnn_kernels)(), .kind = kind, .planes = p->planes, .out = result, .small = small,
                     .large = large,
                     .pool = {p->h, p->w, p->oh, p->ow, p->kernel_h, p->kernel_w, p->stride_h, p->stride_w, p->pad_h,
                              p->pad_w, p->count_include_pad}};
    const ptrdiff_t in = p->h * p->w, out = p->oh * p->ow;
    const double work = (double)p->planes * ((double)out * (double)(p->kernel_h * p->kernel_w) + (double)in);
    const int threads = cnn_threads_for(work / 4);
    v.size = (in + out + (kind == POOL_MAX_GRAD ? in : 0)) * v.table->lanes;
    cnn_carver carver = {0};
    cnn_carve(&carver, threads * v.size, sizeof(REAL));
    v.scratch = carver.overflow ? NULL : cnn_workspace(carver.used);
    if (!v.scratch) return CNN_NO_MEMORY;
    cnn_parallel_for(threads, cnn_ceil_div(p->planes, v.table->lanes), FN(pool_task), &v);
    return CNN_OK;
}

cnn_status FN(cnn_max_pool2d_forward)(REAL *y, const REAL *x, const cnn_pool2d *p) {
    return FN(pool_run)(POOL_MAX, y, NULL, x, p);
}

cnn_status FN(cnn_max_pool2d_grad)(REAL *dx, const REAL *dy, const REAL *x, const cnn_pool2d *p) {
    return FN(pool_run)(POOL_MAX_GRAD, dx, dy, x, p);
}

cnn_status FN(cnn_avg_pool2d_forward)(REAL *y, const REAL *x, const cnn_pool2d *p) {
    return FN(pool_run)(POOL_AVG, y, NULL, x, p);
}

cnn_status FN(cnn_avg_pool2d_grad)(REAL *dx, const REAL *dy, const cnn_pool2d *p) {
    return FN(pool_run)(POOL_AVG_GRAD, dx, dy, NULL, p);
}
