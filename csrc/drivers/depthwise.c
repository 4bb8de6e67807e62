/* Depthwise convolution in NCHW: every output channel reads one input channel, so nothing is shared but the plane itself.
 * Included once per REAL.
 *
 * A plane is copied into scratch with its zeros around it, there each tap is a constant distance, and whole rows of
 * outputs are sums of vectors of neighbouring columns (kernels/depthwise.c). With a stride the columns are split into
 * phases on the way, so that neighbouring outputs read neighbours again. The input gradient is the same sum, with the
 * filter turned, over dy; a stride spreads dy with zeros between. The weight gradient reads the padded x, too. */

/* One axis in scratch: source element first + i comes to position at + i*step, i < count. What lies outside is left out. */
typedef struct {
    ptrdiff_t first, count, at, step;
} FN(placing);

static FN(placing) FN(place)(ptrdiff_t in, ptrdiff_t offset, ptrdiff_t step, ptrdiff_t extent) {
    FN(placing) a = {.first = offset < 0 ? cnn_ceil_div(-offset, step) : 0, .step = step};
    a.at = offset + a.first * step;
    a.count = cnn_max(0, cnn_min(in - a.first, cnn_ceil_div(extent - a.at, step)));
    return a;
}

/* A padded plane, and the sums over it. Column p of a row is element p / split of phase p % split, a phase `pitch` long,
 * a row `line`. Rows of outputs fall into `walks` interleaved sets: within one, neighbours share rows of the plane. */
typedef struct {
    FN(placing) row, col;
    ptrdiff_t src_w, split, pitch, line, size;
    ptrdiff_t stride, walks;
    ptrdiff_t *tap;
    FN(cnn_depth) sum;
} FN(padded);

/* Of x for y or dw, or, with `gradient`, of dy for dx. */
static FN(padded) FN(padded_plane)(const cnn_conv2d *p, ptrdiff_t lanes, int gradient) {
    const ptrdiff_t reach_h = (p->r - 1) * p->dilation_h, reach_w = (p->s - 1) * p->dilation_w;
    const ptrdiff_t rows = gradient ? p->h : p->oh, cols = gradient ? p->w : p->ow;
    FN(padded) a = {.src_w = gradient ? p->ow : p->w, .split = gradient ? 1 : p->stride_w,
                    .stride = gradient ? 1 : p->stride_h};
    const ptrdiff_t height = (rows - 1) * a.stride + reach_h + 1, width = (cols - 1) * a.split + reach_w + 1;
    a.row = gradient ? FN(place)(p->oh, reach_h - p->pad_h, p->stride_h, height) : FN(place)(p->h, p->pad_h, 1, height);
    a.col = gradient ? FN(place)(p->ow, reach_w - p->pad_w, p->stride_w, width) : FN(place)(p->w, p->pad_w, 1, width);
    a.walks = cnn_min(rows, a.stride == 1 ? p->dilation_h : 1);
    /* Zeros enough for the last vector of a row, and a whole number of vectors. */
    a.pitch = cnn_ceil_div(reach_w / a.split, lanes) * lanes + cnn_ceil_div(cols, lanes) * lanes;
    a.line = a.split * a.pitch;
    a.size = height * a.line;
    a.sum = (FN(cnn_depth)){.r = p->r, .s = p->s, .cols = cols, .rows = rows, .x_j = a.walks * a.stride * a.line,
                            .x_r = p->dilation_h * a.line, .y_j = a.walks * cols};
    return a;
}

static void FN(padded_carve)(FN(padded) * a, cnn_carver *carver, ptrdiff_t dilation) {
    a->tap = cnn_carve(carver, a->sum.s, sizeof *a->tap);
    a->sum.tap = a->tap;
    for (ptrdiff_t s = 0; carver->base && s < a->sum.s; s++)
        a->tap[s] = s * dilation % a->split * a->pitch + s * dilation / a->split;
}

/* The source into scratch that holds zeros in all other places. */
static void FN(padded_fill)(const FN(cnn_table) * t, const FN(padded) * a, REAL *scratch, const REAL *src) {
    REAL *to = scratch + a->row.at * a->line;
    src += a->row.first * a->src_w + a->col.first;
    for (ptrdiff_t i = 0; i < cnn_min(a->split, a->col.count); i++) {
        const ptrdiff_t p = a->col.at + i;
        t->copy_rows(to + p % a->split * a->pitch + p / a->split, a->row.step * a->line, a->col.step, src + i, a->src_w,
                     a->split, a->row.count, cnn_ceil_div(a->col.count - i, a->split));
    }
}

#define ROWS_AT_ONCE 16 /* of outputs, between looks ahead */

/* Goes on to the next rows of one interleaved set, which begin with row *at; 0 after the last. In between, some of what
 * will be read next is fetched. Begins with *at = -1. */
static int FN(next_rows)(const FN(padded) * a, FN(cnn_depth) * d, ptrdiff_t *at, FN(ahead) * ahead) {
    const ptrdiff_t step = a->walks * ROWS_AT_ONCE;
    if (*at < 0) *at = 0;
    else if (*at + step < a->sum.rows) *at += step;
    else if (*at % a->walks + 1 < a->walks) *at = *at % a->walks + 1;
    else return 0;
    *d = a->sum;
    d->rows = cnn_min(ROWS_AT_ONCE, cnn_ceil_div(a->sum.rows - *at, a->walks));
    if (ahead->row < ahead->rows) FN(fetch)(ahead);
    return 1;
}

static void FN(padded_sum)(const FN(cnn_table) * t, const FN(padded) * a, REAL *y, const REAL *scratch, const REAL *w,
                           const FN(cnn_depth_end) * end, FN(ahead) * ahead) {
    FN(cnn_depth) d;
    for (ptrdiff_t at = -1; FN(next_rows)(a, &d, &at, ahead);)
        t->depth_sum(y + at * d.cols, scratch + at * a->stride * a->line, w, &d, end);
}

static void FN(padded_grad)(const FN(cnn_table) * t, const FN(padded) * a, REAL *dw, const REAL *dy, const REAL *scratch,
                            FN(ahead) * ahead) {
    FN(cnn_depth) d;
    for (ptrdiff_t at = -1; FN(next_rows)(a, &d, &at, ahead);)
        t->depth_grad(dw, dy + at * d.cols, scratch + at * a->stride * a->line, &d);
}

/* Up to two planes of `size` elements, or NULL, to be fetched while `rows` rows of outputs, if any, are computed. */
static FN(ahead) FN(look_ahead)(const REAL *x, const REAL *dy, ptrdiff_t size, ptrdiff_t rows) {
    const ptrdiff_t line = LINE_BYTES / (ptrdiff_t)sizeof(REAL), lines = cnn_ceil_div(size, line);
    return (FN(ahead)){.array = {x, dy}, .stride = line, .cols = line, .rows = lines,
                       .some = cnn_ceil_div(lines * ROWS_AT_ONCE, cnn_max(1, rows))};
}

typedef struct {
    const FN(cnn_table) * table;
    const cnn_conv2d *p;
    const cnn_conv2d_fusion *f;
    ptrdiff_t m;         /* output channels that read an input channel */
    FN(padded) x, dy;    /* dy: for the input gradient */
    const REAL *in, *w;
    REAL *scratch;       /* [thread][per_thread] */
    ptrdiff_t per_thread;
    /* forward */
    REAL *y;
    const REAL *bias, *scale;
    ptrdiff_t chunk;     /* input planes of a task */
    /* backward */
    REAL *dx, *dw, *db;  /* dw, db: [part][k][taps] and [part][k] */
    const REAL *out, *grad;
    ptrdiff_t parts;     /* ranges of images, each with sums of its own */
} FN(depthwise);

/* Whether a convolution goes this way. */
static int FN(depthwise_pays)(const cnn_conv2d *p, const cnn_conv2d_fusion *f) {
    return p->groups > 1 && p->groups == p->c && !f->x_lanes && !f->y_lanes && !f->pool;
}

static void FN(depthwise_task)(const void *context, ptrdiff_t task, int thread) {
    const FN(depthwise) *v = context;
    const cnn_conv2d *p = v->p;
    const ptrdiff_t area = p->h * p->w, first = task * v->chunk, end = cnn_min(p->n * p->c, first + v->chunk);
    REAL *scratch = v->scratch + thread * v->per_thread;
    memset(scratch, 0, (size_t)v->x.size * sizeof(REAL));
    for (ptrdiff_t plane = first; plane < end; plane++) {
        FN(padded_fill)(v->table, &v->x, scratch, v->in + plane * area);
        FN(ahead) ahead = FN(look_ahead)(plane + 1 < end ? v->in + (plane + 1) * area : NULL, NULL, area, p->oh * v->m);
        for (ptrdiff_t j = plane * v->m; j < (plane + 1) * v->m; j++) {
            const ptrdiff_t k = j % p->k;
            const FN(cnn_depth_end) after = {.w_t = 1, .scale = v->scale ? v->scale[k] : 1,
                                             .bias = v->bias ? v->bias[k] : 0, .relu = v->f->relu};
            FN(padded_sum)(v->table, &v->x, v->y + j * p->oh * p->ow, scratch, v->w + k * p->r * p->s, &after, &ahead);
        }
    }
}

#define PLANES_BYTES (128 << 10) /* of input planes in a task of the forward pass */

static cnn_status FN(depthwise_forward)(REAL *y, const REAL *x, const REAL *w, const REAL *b, const REAL *scale,
                                        const cnn_conv2d *p, const cnn_conv2d_fusion *f) {
    const FN(cnn_table) *t = FN(cnn_kernels)();
    FN(depthwise) v = {.table = t, .p = p, .f = f, .m = p->k / p->c, .x = FN(padded_plane)(p, t->lanes, 0), .in = x,
                       .w = w, .y = y, .bias = b, .scale = scale};
    const ptrdiff_t planes = p->n * p->c;
    const double work = (double)p->n * (double)p->k * (double)(p->oh * p->ow) * (double)(p->r * p->s);
    const double copied = (double)planes * (double)v.x.size; /* of small planes the larger part of the time */
    const int threads = cnn_threads_for(work / 4 + copied);
    const ptrdiff_t most = cnn_ceil_div(planes, threads * TASKS_PER_THREAD);
    v.chunk = cnn_max(1, cnn_min(most, PLANES_BYTES / (p->h * p->w * (ptrdiff_t)sizeof(REAL))));
    v.per_thread = v.x.size;
    cnn_carver carver = {0};
    for (int pass = 0; pass < 2; pass++) {
        if (pass && !(carver.base = carver.overflow ? NULL : cnn_workspace(carver.used))) return CNN_NO_MEMORY;
        carver.used = 0;
        FN(padded_carve)(&v.x, &carver, p->dilation_w);
        v.scratch = cnn_carve(&carver, threads * v.per_thread, sizeof(REAL));
    }
    cnn_parallel_for(threads, cnn_ceil_div(planes, v.chunk), FN(depthwise_task), &v);
    return CNN_OK;
}

/* All gradients of one input channel, over one range of images: x and dy are read once. */
static void FN(depthwise_grad_task)(const void *context, ptrdiff_t task, int thread) {
    const FN(depthwise) *v = context;
    const FN(cnn_table) *t = v->table;
    const cnn_conv2d *p = v->p;
    const ptrdiff_t c = task / v->parts, part = task % v->parts, L = t->lanes, taps = p->r * p->s;
    const ptrdiff_t area = p->h * p->w, plane = p->oh * p->ow, end = p->n * (part + 1) / v->parts;
    REAL *sums = v->scratch + thread * v->per_thread, *x = sums + v->m * taps * L, *dy = x + v->x.size, *open = dy + v->dy.size;
    REAL *db = v->db + part * p->k;
    if (v->dw) memset(sums, 0, (size_t)(v->m * taps * L + v->x.size) * sizeof(REAL));
    if (v->dx) memset(dy, 0, (size_t)v->dy.size * sizeof(REAL));
    if (v->db) memset(db + c * v->m, 0, (size_t)v->m * sizeof(REAL));
    for (ptrdiff_t n = p->n * part / v->parts; n < end; n++) {
        const ptrdiff_t image = n * p->c + c;
        if (v->dw) FN(padded_fill)(t, &v->x, x, v->in + image * area);
        for (ptrdiff_t j = 0; j < v->m; j++) {
            const ptrdiff_t k = c * v->m + j, at = (n * p->k + k) * plane;
            const REAL *grad = v->grad + at;
            const int last = j + 1 == v->m, more = !last || n + 1 < end;
            FN(ahead) ahead = FN(look_ahead)(
                v->dw && last && more ? v->in + (image + p->c) * area : NULL,
                more ? grad + (last ? p->k - v->m + 1 : 1) * plane : NULL, cnn_max(area, plane),
                (v->dw ? p->oh : 0) + (v->dx ? p->h : 0));
            if (v->f->relu) {
                t->relu_grad(open, grad, v->out + at, plane, 0);
                grad = open;
            }
            if (v->db) {
                REAL sum;
                t->sum_planes(&sum, grad, 1, 0, plane);
                db[k] += sum;
            }
            if (v->dw) FN(padded_grad)(t, &v->x, sums + j * taps * L, grad, x, &ahead);
            if (!v->dx) continue;
            const FN(cnn_depth_end) after = {.w_t = -1, .scale = 1, .accumulate = j > 0};
            FN(padded_fill)(t, &v->dy, dy, grad);
            FN(padded_sum)(t, &v->dy, v->dx + image * area, dy, v->w + (k + 1) * taps - 1, &after, &ahead);
        }
    }
    for (ptrdiff_t i = 0; v->dw && i < v->m * taps; i++)
        t->sum_planes(v->dw + (part * p->k + c * v->m) * taps + i, sums + i * L, 1, 0, L);
}

#define PARTS_TASKS 64 /* tasks that few channels are cut into */

static cnn_status FN(depthwise_backward)(REAL *dx, REAL *dw, REAL *db, const REAL *dy, const REAL *y, const REAL *x,
                                         const REAL *w, const cnn_conv2d *p, const cnn_conv2d_fusion *f) {
    const FN(cnn_table) *t = FN(cnn_kernels)();
    FN(depthwise) v = {.table = t, .p = p, .f = f, .m = p->k / p->c, .x = FN(padded_plane)(p, t->lanes, 0),
                       .dy = FN(padded_plane)(p, t->lanes, 1), .in = x, .w = w, .dx = dx, .out = y, .grad = dy};
    const ptrdiff_t taps = p->r * p->s;
    const double work = (double)p->n * (double)p->k * (double)(p->oh * p->ow) * (double)taps;
    const int threads = cnn_threads_for(work / 4);
    v.parts = cnn_min(p->n, cnn_ceil_div(PARTS_TASKS, p->c));
    v.per_thread = v.x.size + v.dy.size + p->oh * p->ow + v.m * taps * t->lanes;
    cnn_carver carver = {0};
    for (int pass = 0; pass < 2; pass++) {
        if (pass && !(carver.base = carver.overflow ? NULL : cnn_workspace(carver.used))) return CNN_NO_MEMORY;
        carver.used = 0;
        FN(padded_carve)(&v.x, &carver, p->dilation_w);
        FN(padded_carve)(&v.dy, &carver, p->dilation_w);
        v.scratch = cnn_carve(&carver, threads * v.per_thread, sizeof(REAL));
        if (db) v.db = cnn_carve(&carver, v.parts * p->k, sizeof(REAL));
        if (dw) v.dw = cnn_carve(&carver, v.parts * p->k * taps, sizeof(REAL));
    }
    cnn_parallel_for(threads, p->c * v.parts, FN(depthwise_grad_task), &v);
    if (dw) t->sum_parts(dw, v.dw, v.parts, p->k * taps, p->k * taps);
    if (db) t->sum_parts(db, v.db, v.parts, p->k, p->k);
    return CNN_OK;
}
