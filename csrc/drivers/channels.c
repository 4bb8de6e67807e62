/* What has parameters or statistics for each channel: PReLU and batch normalisation of arrays [n][c][m].
 *
 * With m > 1 a part of the work is an image's plane of one channel; with m = 1 it is a block of rows, whose columns are
 * the channels. Sums are taken part by part in REAL and added up in double, in the order of the parts. */

#define ROW_BLOCK 64

typedef struct {
    const FN(cnn_table) * table;
    ptrdiff_t n, c, m;
    REAL *out, *first, *second; /* first, second: the parts' sums, [part][c] */
    const REAL *x, *dy, *mean;
    FN(cnn_norm) norm;
    int stream;
    enum { EACH_MOMENTS, EACH_NORM, EACH_NORM_SUMS, EACH_NORM_GRAD, EACH_SLOPE, EACH_SLOPE_X, EACH_SLOPE_A } kind;
} FN(channelwise);

static FN(cnn_norm) FN(of_channel)(const FN(cnn_norm) * p, ptrdiff_t channel) {
    return (FN(cnn_norm)){p->mean + channel, p->scale + channel, p->shift + channel, p->slope + channel,
                          p->offset + channel, p->relu};
}

/* Elements [i, i + n) of the output: a part of a channel's plane, or of a row. */
static void FN(plane_fill)(const void *context, REAL *out, ptrdiff_t i, ptrdiff_t n, int stream) {
    const FN(channelwise) *v = context;
    const int each = v->m == 1;
    const ptrdiff_t channel = i / v->m % v->c;
    const REAL *x = v->x + i, *dy = v->dy ? v->dy + i : NULL;
    const FN(cnn_norm) p = FN(of_channel)(&v->norm, channel);
    if (v->kind == EACH_NORM) v->table->norm(out, x, &p, n, each, stream);
    else if (v->kind == EACH_NORM_GRAD) v->table->norm_grad(out, dy, x, &p, n, each, stream);
    else if (v->kind == EACH_SLOPE) v->table->leaky_relu(out, x, p.slope, n, each, stream);
    else v->table->leaky_relu_grad(out, dy, x, p.slope, n, each, stream);
}

static void FN(channel_part)(const FN(channelwise) * v, ptrdiff_t part, ptrdiff_t channel) {
    const FN(cnn_table) *t = v->table;
    const int each = v->m == 1;
    const ptrdiff_t at = (each ? part * ROW_BLOCK * v->c : part * v->c + channel) * v->m;
    const ptrdiff_t rows = each ? cnn_min(ROW_BLOCK, v->n - part * ROW_BLOCK) : 1, cols = each ? v->c : v->m;
    const ptrdiff_t sum = part * v->c + channel;
    const REAL *x = v->x + at, *dy = v->dy ? v->dy + at : NULL;
    FN(cnn_norm) p;
    switch (v->kind) {
        case EACH_MOMENTS: t->moments(v->first + sum, v->second + sum, x, rows, cols, each); return;
        case EACH_NORM_SUMS:
            p = FN(of_channel)(&v->norm, channel);
            t->norm_sums(v->first + sum, v->second + sum, dy, x, &p, rows, cols, each);
            return;
        case EACH_SLOPE_A: t->slope_grad(v->first + sum, dy, x, rows, cols, each); return;
        default: break;
    }
    for (ptrdiff_t i = at; i < at + rows * cols; i += cols)
        FN(cnn_deliver)(v->out, i, cols, v->stream, FN(plane_fill), v);
    if (v->stream) t->fence();
}

static ptrdiff_t FN(parts)(const FN(channelwise) * v) { return v->m == 1 ? cnn_ceil_div(v->n, ROW_BLOCK) : v->n; }

/* Planes in one task: enough of them to be worth handing out. */
static ptrdiff_t FN(planes_per_task)(const FN(channelwise) * v) { return cnn_max(1, CHUNK / 4 / v->m); }

static void FN(channel_task)(const void *context, ptrdiff_t task, int thread) {
    const FN(channelwise) *v = context;
    (void)thread;
    if (v->m == 1) {
        FN(channel_part)(v, task, 0);
        return;
    }
    const ptrdiff_t from = task * FN(planes_per_task)(v), to = cnn_min(v->n * v->c, from + FN(planes_per_task)(v));
    for (ptrdiff_t plane = from; plane < to; plane++) FN(channel_part)(v, plane / v->c, plane % v->c);
}

static void FN(channelwise_run)(FN(channelwise) * v, int kind) {
    v->kind = kind;
    v->stream = v->m > 1 && FN(cnn_streams)(v->n * v->c * v->m);
    const ptrdiff_t tasks = v->m == 1 ? FN(parts)(v) : cnn_ceil_div(v->n * v->c, FN(planes_per_task)(v));
    cnn_parallel_for(cnn_threads_for((double)v->n * (double)v->c * (double)v->m), tasks, FN(channel_task), v);
}

/* Room for both sums of each part, their totals in double, and three arrays of c; CNN_BAD_SIZE if a size is not positive. */
static cnn_status FN(channel_room)(FN(channelwise) * v, double *sums[2], REAL *vectors[3]) {
    if (v->n < 1 || v->c < 1 || v->m < 1) return CNN_BAD_SIZE;
    cnn_carver carver = {0};
    for (int pass = 0; pass < 2; pass++) {
        if (pass && !(carver.base = carver.overflow ? NULL : cnn_workspace(carver.used))) return CNN_NO_MEMORY;
        carver.used = 0;
        v->first = cnn_carve(&carver, FN(parts)(v) * v->c, sizeof(REAL));
        v->second = cnn_carve(&carver, FN(parts)(v) * v->c, sizeof(REAL));
        for (int i = 0; i < 2; i++) sums[i] = cnn_carve(&carver, v->c, sizeof(double));
        for (int i = 0; i < 3; i++) vectors[i] = cnn_carve(&carver, v->c, sizeof(REAL));
    }
    return CNN_OK;
}

/* total[c] = sum over the parts */
static void FN(add_parts)(const FN(channelwise) * v, double *total, const REAL *parts) {
    for (ptrdiff_t j = 0; j < v->c; j++) total[j] = 0;
    for (ptrdiff_t part = 0; part < FN(parts)(v); part++)
        for (ptrdiff_t j = 0; j < v->c; j++) total[j] += (double)parts[part * v->c + j];
}

cnn_status FN(cnn_batch_moments)(REAL *mean, REAL *var, const REAL *x, ptrdiff_t n, ptrdiff_t c, ptrdiff_t m) {
    FN(channelwise) v = {.table = FN(cnn_kernels)(), .n = n, .c = c, .m = m, .x = x};
    double *sums[2], total = (double)n * (double)m;
    REAL *vectors[3];
    const cnn_status status = FN(channel_room)(&v, sums, vectors);
    if (status != CNN_OK) return status;
    FN(channelwise_run)(&v, EACH_MOMENTS);
    FN(add_parts)(&v, sums[0], v.first);
    FN(add_parts)(&v, sums[1], v.second);
    /* The spread about the common mean is that about the parts' means and that of the parts' means. */
    for (ptrdiff_t part = 0; part < FN(parts)(&v); part++) {
        const double count = m == 1 ? (double)cnn_min(ROW_BLOCK, n - part * ROW_BLOCK) : (double)m;
        for (ptrdiff_t j = 0; j < c; j++) {
            const double apart = (double)v.first[part * c + j] / count - sums[0][j] / total;
            sums[1][j] += count * apart * apart;
        }
    }
    for (ptrdiff_t j = 0; j < c; j++) {
        mean[j] = (REAL)(sums[0][j] / total);
        var[j] = (REAL)(sums[1][j] / total);
    }
    return CNN_OK;
}

cnn_status FN(cnn_batch_norm_forward)(REAL *y, const REAL *x, const REAL *mean, const REAL *var, const REAL *w,
                                      const REAL *b, ptrdiff_t n, ptrdiff_t c, ptrdiff_t m, double eps, int relu) {
    FN(channelwise) v = {.table = FN(cnn_kernels)(), .n = n, .c = c, .m = m, .x = x, .out = y};
    double *sums[2];
    REAL *vectors[3];
    const cnn_status status = FN(channel_room)(&v, sums, vectors);
    if (status != CNN_OK) return status;
    for (ptrdiff_t j = 0; j < c; j++) {
        vectors[0][j] = (REAL)((w ? (double)w[j] : 1) / sqrt((double)var[j] + eps));
        vectors[1][j] = b ? b[j] : 0;
    }
    v.norm = (FN(cnn_norm)){mean, vectors[0], vectors[1], vectors[0], vectors[1], relu};
    FN(channelwise_run)(&v, EACH_NORM);
    return CNN_OK;
}

cnn_status FN(cnn_batch_norm_grad)(REAL *dx, REAL *dw, REAL *db, const REAL *dy, const REAL *x, const REAL *mean,
                                   const REAL *var, const REAL *w, const REAL *b, ptrdiff_t n, ptrdiff_t c, ptrdiff_t m,
                                   double eps, int relu) {
    FN(channelwise) v = {.table = FN(cnn_kernels)(), .n = n, .c = c, .m = m, .x = x, .dy = dy, .out = dx};
    double *sums[2], total = (double)n * (double)m;
    REAL *vectors[3];
    const cnn_status status = FN(channel_room)(&v, sums, vectors);
    if (status != CNN_OK) return status;
    for (ptrdiff_t j = 0; j < c; j++) { /* as forward has them, to the bit: ReLU opens where it did */
        vectors[0][j] = (REAL)((w ? (double)w[j] : 1) / sqrt((double)var[j] + eps));
        vectors[2][j] = b ? b[j] : 0;
    }
    v.norm = (FN(cnn_norm)){mean, vectors[0], mean, mean, vectors[2], relu};
    FN(channelwise_run)(&v, EACH_NORM_SUMS);
    FN(add_parts)(&v, sums[0], v.first);
    FN(add_parts)(&v, sums[1], v.second);
    /* The parts' sums are done with: the means of dy take the place of the first part's. */
    for (ptrdiff_t j = 0; j < c; j++) {
        const double inverse = 1 / sqrt((double)var[j] + eps);
        db[j] = (REAL)sums[0][j];
        dw[j] = (REAL)(sums[1][j] * inverse);
        vectors[1][j] = (REAL)(sums[1][j] * inverse * inverse / total);
        v.first[j] = (REAL)(sums[0][j] / total);
    }
    v.norm.shift = v.first;
    v.norm.slope = vectors[1];
    if (dx) FN(channelwise_run)(&v, EACH_NORM_GRAD);
    return CNN_OK;
}

cnn_status FN(cnn_prelu_forward)(REAL *y, const REAL *x, const REAL *a, ptrdiff_t n, ptrdiff_t c, ptrdiff_t m) {
    if (n < 1 || c < 1 || m < 1) return CNN_BAD_SIZE;
    FN(channelwise) v = {.table = FN(cnn_kernels)(), .n = n, .c = c, .m = m, .x = x, .out = y, .norm = {a, a, a, a, a, 0}};
    FN(channelwise_run)(&v, EACH_SLOPE);
    return CNN_OK;
}

cnn_status FN(cnn_prelu_grad)(REAL *dx, REAL *da, const REAL *dy, const REAL *x, const REAL *a, ptrdiff_t n, ptrdiff_t c,
                              ptrdiff_t m) {
    FN(channelwise) v = {.table = FN(cnn_kernels)(), .n = n, .c = c, .m = m, .x = x, .dy = dy, .out = dx,
                         .norm = {a, a, a, a, a, 0}};
    double *sums[2];
    REAL *vectors[3];
    const cnn_status status = FN(channel_room)(&v, sums, vectors);
    if (status != CNN_OK) return status;
    if (da) {
        FN(channelwise_run)(&v, EACH_SLOPE_A);
        FN(add_parts)(&v, sums[0], v.first);
        for (ptrdiff_t j = 0; j < c; j++) da[j] = (REAL)sums[0][j];
    }
    if (dx) FN(channelwise_run)(&v, EACH_SLOPE_X);
    return CNN_OK;
}
