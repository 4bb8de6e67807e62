/* Where a convolution's arrays come from and go to, whatever lies in between. Included once per REAL.
 *
 * source: an array becomes padded lane planes, a slab of lane groups at a time. The gradient of a fused convolution's
 * output is undone on the way in: spread to the winners of its windows, or shut off where the output is not positive.
 * sink: finished rows of lane planes go through ReLU and 2×2 pooling to the output. */

typedef struct {
    const FN(cnn_table) * table;
    FN(edge) edge; /* how x lies in planes of rows×cols */
    const REAL *x;
    const uint8_t *winner; /* x is the gradient after pooling: the winners' places, in lane layout; or NULL */
    const REAL *open;      /* x is the gradient after ReLU: its output, lying as x does; or NULL */
    REAL *sums;            /* [lane group][channel]: sums of the planes; or NULL */
    /* derived */
    int in_place; /* x is in lane planes as they are needed */
    ptrdiff_t slab, first, staging_size;
    REAL *planes, *staging;
} FN(source);

static ptrdiff_t FN(plane_size)(const FN(source) * s) { return s->edge.rows * s->edge.cols * s->table->lanes; }

/* The lane plane of a channel of lane group `group`, which is in the slab. */
static REAL *FN(plane)(const FN(source) * s, ptrdiff_t group, ptrdiff_t channel) {
    return s->planes + ((group - s->first) * s->edge.channels + channel) * FN(plane_size)(s);
}

/* How x itself lies where `winner` or `open` are given: its planes are as large as it is. */
static FN(edge) FN(outside)(const FN(source) * s) {
    FN(edge) e = s->edge;
    if (s->winner) {
        e.h /= 2;
        e.w /= 2;
    }
    e.top = e.left = 0;
    e.rows = e.h;
    e.cols = e.w;
    return e;
}

static void FN(source_size)(FN(source) * s, ptrdiff_t lane_groups, ptrdiff_t slab_bytes) {
    const FN(edge) *e = &s->edge;
    const double bytes = (double)e->channels * (double)(e->rows * e->cols) * s->table->lanes * sizeof(REAL);
    s->in_place = e->lanes && !s->winner && !s->open && !e->top && !e->left && e->rows == e->h && e->cols == e->w;
    s->slab = cnn_min(lane_groups, cnn_max(1, (ptrdiff_t)((double)slab_bytes / bytes)));
    s->staging_size = FN(edge_staging)(e, s->table->lanes);
    if ((s->winner || s->open) && !e->lanes) s->staging_size = 2 * e->h * e->w * s->table->lanes;
}

static void FN(source_carve)(FN(source) * s, cnn_carver *carver, int threads) {
    const ptrdiff_t count = s->in_place ? 0 : s->slab * s->edge.channels;
    s->planes = cnn_carve(carver, count * FN(plane_size)(s), sizeof(REAL));
    s->staging = cnn_carve(carver, threads * s->staging_size, sizeof(REAL));
}

/* One plane of the gradient before pooling or ReLU. */
static void FN(undo_plane)(const FN(source) * s, REAL *dst, ptrdiff_t group, ptrdiff_t channel, REAL *staging) {
    const FN(edge) *e = &s->edge, out = FN(outside)(s);
    const ptrdiff_t L = s->table->lanes, area = out.h * out.w, at = (group * e->channels + channel) * area * L;
    const REAL *dy = s->x + at, *y = s->open ? s->open + at : NULL;
    if (!e->lanes) {
        FN(pack_plane)(s->table, &out, staging, s->x, group, channel, NULL);
        dy = staging;
        if (y) FN(pack_plane)(s->table, &out, staging + area * L, s->open, group, channel, NULL);
        y = staging + area * L;
    }
    memset(dst, 0, (size_t)FN(plane_size)(s) * sizeof(REAL));
    dst += (e->top * e->cols + e->left) * L;
    for (ptrdiff_t r = 0; r < out.h; r++, dy += out.w * L) {
        if (s->winner)
            s->table->pool2_grad(dst + 2 * r * e->cols * L, e->cols, dy, s->winner + at + r * out.w * L, out.w);
        else
            s->table->relu_grad(dst + r * e->cols * L, dy, y + r * out.w * L, out.w * L, 0);
    }
}

static void FN(source_task)(const void *context, ptrdiff_t task, int thread) {
    const FN(source) *s = context;
    const ptrdiff_t group = s->first + task / s->edge.channels, channel = task % s->edge.channels;
    REAL *dst = FN(plane)(s, group, channel), *staging = s->staging + thread * s->staging_size;
    if (s->winner || s->open) FN(undo_plane)(s, dst, group, channel, staging);
    else if (!s->in_place) FN(pack_plane)(s->table, &s->edge, dst, s->x, group, channel, staging);
    if (s->sums) s->table->sum_planes(s->sums + group * s->edge.channels + channel, dst, 1, 0, FN(plane_size)(s));
}

/* Makes the planes of lane groups [first, first + count). */
static void FN(source_fill)(FN(source) * s, ptrdiff_t first, ptrdiff_t count, int threads) {
    s->first = first;
    /* Read only: what is in place is never written to. */
    if (s->in_place) s->planes = (REAL *)s->x + first * s->edge.channels * FN(plane_size)(s);
    if (!s->in_place || s->sums) cnn_parallel_for(threads, count * s->edge.channels, FN(source_task), s);
}

typedef struct {
    FN(edge) edge; /* how y lies; with `pool` it is half as high and wide as what the strips hold */
    const REAL *scale, *shift; /* by channel; scale, and with it shift, may be NULL */
    int relu, pool;
    REAL *y;
    uint8_t *winner; /* in lane layout; or NULL */
} FN(sink);

/* n sums of a channel, y = scale y + shift, then ReLU; as they are without scale, and with shift 0 without shift. */
static void FN(scale_sums)(const FN(cnn_table) * t, REAL *y, ptrdiff_t n, const REAL *scale, const REAL *shift,
                           ptrdiff_t channel, int relu) {
    if (!scale) return;
    const REAL zero = 0;
    const FN(cnn_norm) norm = {.mean = &zero, .scale = scale + channel, .shift = shift ? shift + channel : &zero, .relu = relu};
    t->norm(y, y, &norm, n, 0, 0);
}

/* Rows [row, row + rows), columns [col, col + cols) of a lane plane, at strip with `pitch` positions from row to row, to
 * one channel of y. The strip is used up. With `pool` all four are even, but at an image's end. */
static void FN(sink_rows)(const FN(cnn_table) * t, const FN(sink) * s, ptrdiff_t group, ptrdiff_t channel, REAL *strip,
                          ptrdiff_t pitch, ptrdiff_t row, ptrdiff_t rows, ptrdiff_t col, ptrdiff_t cols) {
    const FN(edge) *e = &s->edge;
    const ptrdiff_t L = t->lanes;
    FN(scale_sums)(t, strip, rows * pitch * L, s->scale, s->shift, channel, 0);
    if (s->pool) {
        row /= 2;
        col /= 2;
        rows = cnn_min(rows / 2, e->h - row);
        cols = cnn_min(cols / 2, e->w - col);
        if (rows < 1 || cols < 1) return;
        for (ptrdiff_t r = 0; r < rows; r++) {
            uint8_t *winner = s->winner;
            if (winner) winner += (((group * e->channels + channel) * e->h + row + r) * e->w + col) * L;
            t->pool2(strip + r * cols * L, winner, strip + 2 * r * pitch * L, pitch, cols, s->relu);
        }
        pitch = cols;
    } else if (s->relu) {
        t->relu(strip, strip, rows * pitch * L, 0);
    }
    FN(unpack_rows)(t, e, s->y, group, channel, strip, pitch, row, rows, col, cols);
}
