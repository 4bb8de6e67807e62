/* Pooling of L planes at a time, in lane layout: where the arrays are NCHW, planes are transposed into scratch and back.
 *
 * Outputs are cut into blocks that share their taps: one of all whose windows are whole, and rows and columns at the
 * borders. Gradients are gathered: a pixel of dx adds up the windows that read it; pixels `stride` apart have the same
 * taps into dy. The maximum's taps count where they are the window's winner; the average's dy is divided by the area of
 * its window first. The maximum's gradient from x finds the winners again.
 *
 * A task is L planes, which it works through in strips of rows that stay in a second-level cache. */

typedef struct {
    const FN(cnn_table) * table;
    const cnn_pool2d *p;
    FN(pool_axis) height, width;
    int maximum, gradient;
    REAL *y, *dx;
    uint8_t *winners; /* written forward where not NULL */
    const REAL *x, *dy;
    const uint8_t *at; /* winners that the gradient reads; NULL: found again from x */
    ptrdiff_t strip, x_rows, dy_rows; /* rows of y, or of dx, at a time; most rows that they take */
    char *scratch;
    size_t scratch_bytes; /* per thread */
} FN(pooling);

/* A thread's rows of x, y, dx, dy and winners in lane layout, and the taps of a block. */
typedef struct {
    REAL *x, *y, *dx, *dy;
    REAL_INT *winner, *position;
    ptrdiff_t *tap;
} FN(pool_scratch);

static FN(pool_scratch) FN(pool_carve)(const FN(pooling) * v, cnn_carver *c) {
    const cnn_pool2d *p = v->p;
    const ptrdiff_t L = v->table->lanes, y_row = p->ow * L, x_row = p->w * L;
    const ptrdiff_t taps = cnn_min(p->kernel_h, p->h + 1) * cnn_min(p->kernel_w, p->w + 1); /* that are inside */
    const int copied = !p->lanes;
    FN(pool_scratch) s;
    s.x = cnn_carve(c, copied && v->x ? v->x_rows * x_row : 0, sizeof(REAL));
    s.y = cnn_carve(c, copied && v->y ? v->strip * y_row : 0, sizeof(REAL));
    s.dx = cnn_carve(c, copied && v->dx ? v->strip * x_row : 0, sizeof(REAL));
    s.dy = cnn_carve(c, v->dy && (copied || !v->maximum) ? v->dy_rows * y_row : 0, sizeof(REAL));
    s.winner = cnn_carve(c, v->dy && v->x ? v->dy_rows * y_row : 0, sizeof(REAL_INT));
    s.position = cnn_carve(c, taps, sizeof(REAL_INT));
    s.tap = cnn_carve(c, taps, sizeof(ptrdiff_t));
    return s;
}

/* A block of rows and columns of one segment each, of planes whose rows are in_w and out_w columns wide. It begins
 * `from` elements into an array that begins at row in_row, and is written `to` elements into one that begins at out_row. */
typedef struct {
    FN(cnn_windows) w;
    ptrdiff_t from, to;
} FN(pool_block);

static FN(pool_block) FN(block_of)(const FN(pooling) * v, const FN(pool_scratch) * s, const FN(segment) * row,
                                   const FN(segment) * col, ptrdiff_t in_w, ptrdiff_t out_w, ptrdiff_t in_row,
                                   ptrdiff_t out_row) {
    const ptrdiff_t L = v->table->lanes;
    ptrdiff_t n = 0;
    for (ptrdiff_t a = 0; a < row->taps; a++)
        for (ptrdiff_t b = 0; b < col->taps; b++, n++) {
            s->tap[n] = (a * row->from_step * in_w + b * col->from_step) * L;
            s->position[n] = (REAL_INT)((row->k + a * row->k_step) * v->p->kernel_w + col->k + b * col->k_step);
        }
    return (FN(pool_block)){{.tap = s->tap, .position = s->position, .taps = n, .rows = row->count, .cols = col->count,
                             .x_r = row->advance * in_w * L, .x_p = col->advance * L, .y_r = row->step * out_w * L,
                             .y_p = col->step * L, .area = 1},
                            ((row->from - in_row) * in_w + col->from) * L,
                            ((row->first - out_row) * out_w + col->first) * L};
}

/* Rows [row, end) of outputs from x, which begins at row x_row: y and winners, or winners alone as integers, or averages. */
static void FN(pool_outputs)(const FN(pooling) * v, const FN(pool_scratch) * s, REAL *y, uint8_t *at, REAL_INT *winner,
                             const REAL *x, ptrdiff_t x_row, ptrdiff_t row, ptrdiff_t end) {
    const cnn_pool2d *p = v->p;
    FN(segment) r, c;
    for (ptrdiff_t i = row; i < end; i += r.count) {
        r = FN(segment_of_outputs)(&v->height, i, end);
        for (ptrdiff_t j = 0; j < p->ow; j += c.count) {
            c = FN(segment_of_outputs)(&v->width, j, p->ow);
            FN(pool_block) b = FN(block_of)(v, s, &r, &c, p->w, p->ow, x_row, row);
            b.w.area = (REAL)(p->count_include_pad ? FN(counted)(&v->height, i) * FN(counted)(&v->width, j) : b.w.taps);
            if (!v->maximum) v->table->sum_windows(y + b.to, x + b.from, &b.w);
            else if (winner) v->table->max_winners(winner + b.to, x + b.from, &b.w);
            else v->table->max_windows(y + b.to, at ? at + b.to : NULL, x + b.from, &b.w);
        }
    }
}

/* Rows [row, end) of y over the areas of their windows; to and y may be one. */
static void FN(pool_divide)(const FN(pooling) * v, REAL *to, const REAL *y, ptrdiff_t row, ptrdiff_t end) {
    const cnn_pool2d *p = v->p;
    const ptrdiff_t L = v->table->lanes, here = 0;
    const REAL_INT position = 0;
    FN(segment) r, c;
    for (ptrdiff_t i = row; i < end; i += r.count) {
        r = FN(segment_of_outputs)(&v->height, i, end);
        for (ptrdiff_t j = 0; j < p->ow; j += c.count) {
            c = FN(segment_of_outputs)(&v->width, j, p->ow);
            const ptrdiff_t at = ((i - row) * p->ow + j) * L;
            const ptrdiff_t area = p->count_include_pad ? FN(counted)(&v->height, i) * FN(counted)(&v->width, j)
                                                        : r.taps * c.taps;
            const FN(cnn_windows) w = {&here, &position, 1, r.count, c.count, p->ow * L, L, p->ow * L, L, (REAL)area};
            v->table->sum_windows(to + at, y + at, &w);
        }
    }
}

/* Rows [row, end) of dx from dy and its winners, which begin at row y_row. */
static void FN(pool_gather)(const FN(pooling) * v, const FN(pool_scratch) * s, REAL *dx, const REAL *dy, const uint8_t *at,
                            const REAL_INT *winner, ptrdiff_t y_row, ptrdiff_t row, ptrdiff_t end) {
    const cnn_pool2d *p = v->p;
    const ptrdiff_t phases_h = cnn_min(end - row, p->stride_h), phases_w = cnn_min(p->w, p->stride_w);
    FN(segment) r, c;
    for (ptrdiff_t phase = 0; phase < phases_h * phases_w; phase++)
        for (ptrdiff_t i = row + phase / phases_w; i < end; i += r.count * r.step) {
            r = FN(segment_of_pixels)(&v->height, i, end);
            for (ptrdiff_t j = phase % phases_w; j < p->w; j += c.count * c.step) {
                c = FN(segment_of_pixels)(&v->width, j, p->w);
                const FN(pool_block) b = FN(block_of)(v, s, &r, &c, p->ow, p->w, y_row, row);
                if (!v->maximum) v->table->sum_windows(dx + b.to, dy + b.from, &b.w);
                else v->table->max_windows_grad(dx + b.to, dy + b.from, at ? at + b.from : NULL, winner + b.from, &b.w);
            }
        }
}

/* The same of whole windows that do not overlap: dx at their taps, and zeros in the rim that they leave. */
static void FN(pool_spread)(const FN(pooling) * v, const FN(pool_scratch) * s, REAL *dx, const REAL *dy, const uint8_t *at,
                            ptrdiff_t first, ptrdiff_t last, ptrdiff_t row, ptrdiff_t end) {
    const cnn_pool2d *p = v->p;
    const ptrdiff_t L = v->table->lanes, covered = first < last ? last * p->stride_h : row, width = p->ow * p->stride_w;
    if (first < last) {
        const FN(segment) r = FN(segment_of_outputs)(&v->height, first, last);
        const FN(segment) c = FN(segment_of_outputs)(&v->width, 0, p->ow);
        const FN(pool_block) b = FN(block_of)(v, s, &r, &c, p->w, p->ow, row, first);
        v->table->max_windows_spread(dx + b.from, dy + b.to, at, s->winner, &b.w);
    }
    for (ptrdiff_t i = row; i < covered && width < p->w; i++)
        memset(dx + ((i - row) * p->w + width) * L, 0, (size_t)((p->w - width) * L) * sizeof(REAL));
    memset(dx + (covered - row) * p->w * L, 0, (size_t)((end - covered) * p->w * L) * sizeof(REAL));
}

/* Rows [row, end) of L planes of y, or of dx. */
static void FN(pool_strip)(const FN(pooling) * v, const FN(pool_scratch) * s, ptrdiff_t group, ptrdiff_t row, ptrdiff_t end) {
    const FN(cnn_table) *t = v->table;
    const cnn_pool2d *p = v->p;
    const ptrdiff_t L = t->lanes, in = p->h * p->w, out = p->oh * p->ow, pixel = p->lanes ? L : 1;
    const int planes = p->lanes ? (int)L : (int)cnn_min(L, p->planes - group * L);
    ptrdiff_t first = row, last = end; /* outputs that are made, or read */
    if (v->gradient) FN(readers)(&v->height, row, end, &first, &last);
    const ptrdiff_t from = cnn_max(0, first * p->stride_h - p->pad_h);
    const ptrdiff_t to = cnn_min(p->h, (last - 1) * p->stride_h - p->pad_h + p->kernel_h);
    /* Where the strip's rows begin, in NCHW in the first of L planes, and then in lane layout. */
    const ptrdiff_t x_at = group * L * in + from * p->w * pixel, y_at = group * L * out + first * p->ow * pixel;
    const ptrdiff_t dx_at = group * L * in + row * p->w * pixel, winners_at = (group * out + first * p->ow) * L;
    const REAL *x = v->x ? v->x + x_at : NULL, *dy = v->dy ? v->dy + y_at : NULL;
    REAL *y = v->y ? v->y + y_at : NULL, *dx = v->dx ? v->dx + dx_at : NULL;
    if (!p->lanes) {
        if (x && first < last) t->lanes_from_planes(s->x, x, in, planes, (to - from) * p->w);
        if (dy) t->lanes_from_planes(s->dy, dy, out, planes, (last - first) * p->ow);
        x = s->x, dy = s->dy, y = s->y, dx = s->dx;
    }
    if (!v->gradient) {
        FN(pool_outputs)(v, s, y, v->winners ? v->winners + winners_at : NULL, NULL, x, from, row, end);
        if (!p->lanes) t->planes_from_lanes(v->y + y_at, out, planes, y, (end - row) * p->ow);
        return;
    }
    if (!v->maximum) {
        FN(pool_divide)(v, s->dy, dy, first, last);
        dy = s->dy;
    } else if (!v->at) {
        FN(pool_outputs)(v, s, NULL, NULL, s->winner, x, from, first, last);
    }
    const uint8_t *at = v->at ? v->at + winners_at : NULL;
    const int whole = !p->pad_h && !p->pad_w && p->oh * p->stride_h <= p->h && p->ow * p->stride_w <= p->w;
    const int apart = whole && p->kernel_h == p->stride_h && p->kernel_w == p->stride_w;
    if (v->maximum && apart) FN(pool_spread)(v, s, dx, dy, at, first, last, row, end);
    else FN(pool_gather)(v, s, dx, dy, at, s->winner, first, row, end);
    if (!p->lanes) t->planes_from_lanes(v->dx + dx_at, in, planes, dx, (end - row) * p->w);
}

static void FN(pool_task)(const void *context, ptrdiff_t task, int thread) {
    const FN(pooling) *v = context;
    cnn_carver carver = {.base = v->scratch + (size_t)thread * v->scratch_bytes};
    const FN(pool_scratch) s = FN(pool_carve)(v, &carver);
    const ptrdiff_t rows = v->gradient ? v->p->h : v->p->oh;
    for (ptrdiff_t row = 0; row < rows; row += v->strip)
        FN(pool_strip)(v, &s, task, row, cnn_min(row + v->strip, rows));
}

#define POOL_STRIP_BYTES (96 << 10) /* a strip's rows: a quarter of a second-level cache or less */

static cnn_status FN(pool_run)(FN(pooling) * v, const cnn_pool2d *p) {
    v->table = FN(cnn_kernels)();
    v->p = p;
    v->height = (FN(pool_axis)){p->h, p->oh, p->kernel_h, p->stride_h, p->pad_h, p->after_h};
    v->width = (FN(pool_axis)){p->w, p->ow, p->kernel_w, p->stride_w, p->pad_w, p->after_w};
    v->gradient = v->dx != NULL;
    const ptrdiff_t L = v->table->lanes, rows = v->gradient ? p->h : p->oh;
    const double pixels = (double)p->oh * (double)p->ow * (double)(p->kernel_h * p->kernel_w) + (double)(p->h * p->w);
    const int threads = cnn_threads_for((double)p->planes * (double)(p->lanes ? L : 1) * pixels / 4);
    const ptrdiff_t row_bytes = (cnn_min(p->stride_h, p->h) * p->w + p->ow) * L * (ptrdiff_t)sizeof(REAL);
    const ptrdiff_t step = v->gradient ? p->stride_h : 1; /* strips of dx begin where windows do, if those are apart */
    v->strip = cnn_max(1, POOL_STRIP_BYTES / row_bytes) * step;
    v->strip = cnn_min(rows, cnn_ceil_div(cnn_ceil_div(rows, cnn_ceil_div(rows, v->strip)), step) * step);
    v->dy_rows = cnn_min(p->oh, (v->strip + p->kernel_h - 2) / p->stride_h + 1);
    v->x_rows = cnn_min(p->h, ((v->gradient ? v->dy_rows : v->strip) - 1) * p->stride_h + p->kernel_h);
    cnn_carver carver = {0};
    FN(pool_carve)(v, &carver);
    v->scratch_bytes = carver.used;
    cnn_carve(&carver, threads, v->scratch_bytes);
    v->scratch = carver.overflow ? NULL : cnn_workspace((size_t)threads * v->scratch_bytes);
    if (!v->scratch) return CNN_NO_MEMORY;
    cnn_parallel_for(threads, p->lanes ? p->planes : cnn_ceil_div(p->planes, L), FN(pool_task), v);
    return CNN_OK;
}

#define MOST_POSITIONS 255 /* that a byte tells apart, 255 itself being kept for "none" */

cnn_status FN(cnn_max_pool2d_forward)(REAL *y, uint8_t *at, const REAL *x, const cnn_pool2d *p) {
    if (!cnn_pool2d_valid(p) || (at && p->kernel_h * p->kernel_w > MOST_POSITIONS)) return CNN_BAD_SIZE;
    FN(pooling) v = {.maximum = 1, .y = y, .winners = at, .x = x};
    return FN(pool_run)(&v, p);
}

cnn_status FN(cnn_max_pool2d_grad)(REAL *dx, const REAL *dy, const REAL *x, const uint8_t *at, const cnn_pool2d *p) {
    if (!cnn_pool2d_valid(p) || (at && p->kernel_h * p->kernel_w > MOST_POSITIONS) || (!at && !x)) return CNN_BAD_SIZE;
    FN(pooling) v = {.maximum = 1, .dx = dx, .dy = dy, .x = at ? NULL : x, .at = at};
    return FN(pool_run)(&v, p);
}

cnn_status FN(cnn_avg_pool2d_forward)(REAL *y, const REAL *x, const cnn_pool2d *p) {
    if (!cnn_pool2d_valid(p)) return CNN_BAD_SIZE;
    if (FN(means_run)(y, x, p, 0)) return CNN_OK;
    FN(pooling) v = {.y = y, .x = x};
    return FN(pool_run)(&v, p);
}

cnn_status FN(cnn_avg_pool2d_grad)(REAL *dx, const REAL *dy, const cnn_pool2d *p) {
    if (!cnn_pool2d_valid(p)) return CNN_BAD_SIZE;
    if (FN(means_run)(dx, dy, p, 1)) return CNN_OK;
    FN(pooling) v = {.dx = dx, .dy = dy};
    return FN(pool_run)(&v, p);
}
