/* Dropout, of single numbers or of groups such as the planes of images. */

typedef struct {
    const FN(cnn_table) * table;
    REAL *y, *factors; /* factors: of the groups */
    const REAL *x;
    ptrdiff_t groups, group, groups_per_task;
    uint64_t seed;
    uint32_t below;
    REAL scale;
    int stream;
} FN(dropout);

static void FN(dropout_task)(const void *context, ptrdiff_t task, int thread) {
    const FN(dropout) *v = context;
    const ptrdiff_t from = task * CHUNK, n = cnn_min(CHUNK, v->groups - from);
    (void)thread;
    v->table->dropout(v->y + from, v->x + from, n, (uint64_t)from, v->seed, v->below, v->scale);
}

static void FN(group_fill)(const void *context, REAL *y, ptrdiff_t i, ptrdiff_t n, int stream) {
    const FN(dropout) *v = context;
    v->table->affine(y, v->x + i, n, stream, v->factors[i / v->group], 0);
}

static void FN(groups_task)(const void *context, ptrdiff_t task, int thread) {
    const FN(dropout) *v = context;
    const ptrdiff_t end = cnn_min(v->groups, (task + 1) * v->groups_per_task);
    (void)thread;
    for (ptrdiff_t g = task * v->groups_per_task; g < end; g++) {
        if (v->factors[g] == 0) memset(v->y + g * v->group, 0, (size_t)v->group * sizeof(REAL));
        else FN(cnn_deliver)(v->y, g * v->group, v->group, v->stream, FN(group_fill), v);
    }
    if (v->stream) v->table->fence();
}

cnn_status FN(cnn_dropout)(REAL *y, const REAL *x, ptrdiff_t groups, ptrdiff_t group, double p, uint64_t seed) {
    if (groups < 1 || group < 1 || !(p >= 0 && p < 1)) return CNN_BAD_SIZE;
    FN(dropout) v = {.table = FN(cnn_kernels)(), .y = y, .x = x, .groups = groups, .group = group, .seed = seed};
    v.below = (uint32_t)(p * 4294967296.0);
    v.scale = (REAL)(1 / (1 - p));
    const double work = 8 * (double)groups; /* a number costs about as much as that many multiply-adds */
    if (group == 1) {
        cnn_parallel_for(cnn_threads_for(work), cnn_ceil_div(groups, CHUNK), FN(dropout_task), &v);
        return CNN_OK;
    }
    cnn_carver carver = {0};
    cnn_carve(&carver, groups, sizeof(REAL));
    v.factors = carver.overflow ? NULL : cnn_workspace(carver.used);
    if (!v.factors) return CNN_NO_MEMORY;
    for (ptrdiff_t g = 0; g < groups; g++) v.factors[g] = 1;
    v.table->dropout(v.factors, v.factors, groups, 0, seed, v.below, v.scale);
    v.groups_per_task = cnn_max(1, CHUNK / group);
    v.stream = y != x && FN(cnn_streams)(groups * group);
    const ptrdiff_t tasks = cnn_ceil_div(groups, v.groups_per_task);
    cnn_parallel_for(cnn_threads_for((double)groups * (double)group), tasks, FN(groups_task), &v);
    return CNN_OK;
}
