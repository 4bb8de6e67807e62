/* Direct convolution, forward and input gradient: a sum over taps (conv.h).
 *
 * 1. weights -> [group][row phase][column phase][block of MB outputs][input channel][tap of the phase][MB]
 * 2. per task (L images, conv group, strip of rows, range of output blocks): of NB neighbouring pixels of a phase, all
 *    that they read is copied side by side into a panel [input channel][tap][NB][L], which stays in the second-level
 *    cache while the matrix product (gemm_tile) goes through all blocks of outputs. A deep panel is cut. Few blocks of
 *    outputs read the inputs where they are (tap_tile). */

typedef struct {
    FN(conv) * conv;
    int in_place; /* outputs go where they belong: in lanes, and nothing follows */
    int straight; /* panels would not pay: too few blocks of outputs read them */
    const FN(strided_way) * strided; /* by strided.c instead of panels_task; or NULL */
    ptrdiff_t blocks, height, higher; /* of output channels; rows of a block, and how many blocks have one more */
    ptrdiff_t phases_h, phases_w, strip, strips, span, spans, chunk, chunks; /* span: columns of a strip */
    REAL *packed, *scratch;
    ptrdiff_t *taps;
    ptrdiff_t scratch_size, taps_size; /* per thread */
} FN(panels);

/* strided.c */
#define STRIDED_SUMS 9 /* most that are at hand at a time */
static ptrdiff_t FN(strided_products)(const FN(strided_way) * way);
static void FN(strided_pack)(const void *context, ptrdiff_t task, int thread);
static void FN(strided_task)(const void *context, ptrdiff_t task, int thread);

/* Blocks of MB output channels or, lest the last is too low to be fast, of a row less. */
static void FN(cut_blocks)(FN(panels) * v, ptrdiff_t cout, ptrdiff_t mb) {
    v->blocks = cnn_ceil_div(cout, mb);
    v->height = cout / v->blocks;
    v->higher = cout % v->blocks;
}

/* The first output channel of a block. */
static ptrdiff_t FN(block_at)(const FN(panels) * v, ptrdiff_t block) {
    return block * v->height + cnn_min(block, v->higher);
}

static void FN(panels_pack)(const void *context, ptrdiff_t task, int thread) {
    const FN(panels) *v = context;
    const FN(conv) *c = v->conv;
    const ptrdiff_t mb = c->table->gemm_mb, area = c->row.taps * c->col.taps;
    const ptrdiff_t group = task / v->blocks, k0 = FN(block_at)(v, task % v->blocks);
    const ptrdiff_t used = FN(block_at)(v, task % v->blocks + 1) - k0;
    const REAL *w = c->w + group * c->w_group + k0 * c->w_out;
    REAL *to = v->packed + group * v->blocks * c->cin * area * mb;
    ptrdiff_t at;
    (void)thread;
    for (ptrdiff_t i = 0; i < v->phases_h; i++)
        for (ptrdiff_t j = 0; j < v->phases_w; j++) {
            const ptrdiff_t taps = FN(phase_taps)(&c->row, i, i + 1) * FN(phase_taps)(&c->col, j, j + 1);
            const ptrdiff_t depth = c->cin * taps;
            REAL *tap = to + task % v->blocks * depth * mb;
            for (ptrdiff_t r = 0; r < c->row.taps; r++)
                for (ptrdiff_t s = 0; s < c->col.taps; s++) {
                    if (!FN(reads)(&c->row, i, r, &at) || !FN(reads)(&c->col, j, s, &at)) continue;
                    const REAL *src = w + r * c->col.taps + s;
                    for (ptrdiff_t channel = 0; channel < c->cin; channel++, src += c->w_in)
                        for (ptrdiff_t k = 0; k < mb; k++)
                            tap[channel * taps * mb + k] = k < used ? src[k * c->w_out] : 0;
                    tap += mb;
                }
            to += v->blocks * depth * mb;
        }
}

/* Where a task works. */
typedef struct {
    ptrdiff_t lane_group, group, row, rows, col, cols, block, end;
} FN(panels_place);

static FN(panels_place) FN(panels_at)(const FN(panels) * v, ptrdiff_t task) {
    const FN(conv) *c = v->conv;
    const ptrdiff_t chunk = task % v->chunks, span = task / v->chunks % v->spans;
    const ptrdiff_t strip = task / (v->chunks * v->spans) % v->strips, rest = task / (v->chunks * v->spans * v->strips);
    FN(panels_place) p = {.lane_group = rest / c->groups, .group = rest % c->groups, .row = strip * v->strip,
                          .col = span * v->span, .block = chunk * v->chunk};
    p.rows = cnn_min(v->strip, c->row.out - p.row);
    p.cols = cnn_min(v->span, c->col.out - p.col);
    p.end = cnn_min(v->blocks, p.block + v->chunk);
    return p;
}

#define PANEL_BYTES (128 << 10) /* of a panel: part of a second-level cache, which products read as fast as the first */

/* What a panel is copied from. */
typedef struct {
    const REAL *x;
    ptrdiff_t channels, plane, step, width;
    const ptrdiff_t *taps;
    ptrdiff_t n;
} FN(panel_source);

/* Part i of `parts` of it into the caches, while products of another panel are computed. */
static void FN(panel_fetch)(const FN(panel_source) * s, ptrdiff_t i, ptrdiff_t parts, ptrdiff_t L) {
    const ptrdiff_t line = cnn_max(1, 64 / (L * (ptrdiff_t)sizeof(REAL)));
    for (ptrdiff_t c = s->channels * i / parts; c < s->channels * (i + 1) / parts; c++)
        for (ptrdiff_t t = 0; t < s->n; t++)
            for (ptrdiff_t k = 0; k < s->width; k += line)
                __builtin_prefetch(s->x + c * s->plane + s->taps[t] + k * s->step, 0, 2);
}

/* What will be written to is fetched while the sums that go there are computed. */
static void FN(fetch_output)(const REAL *y, ptrdiff_t n) {
    for (ptrdiff_t i = 0; i < n; i += LINE_BYTES / (ptrdiff_t)sizeof(REAL)) __builtin_prefetch(y + i, 1);
}

/* The outputs of one row and one column phase: weights begin at w, the row of the first output channel at y. */
static void FN(panels_row)(const FN(panels) * v, const FN(panels_place) * at, ptrdiff_t o, ptrdiff_t j, const REAL *w,
                           REAL *y, REAL *panel, ptrdiff_t *taps) {
    const FN(conv) *c = v->conv;
    const FN(cnn_table) *table = c->table;
    const ptrdiff_t L = table->lanes, mb = table->gemm_mb, nb = table->gemm_nb, pitch = c->from.edge.cols;
    const FN(phase) phase = FN(phase_of)(&c->col, j);
    /* the phase's outputs that lie in the span */
    const ptrdiff_t begin = cnn_max(0, cnn_ceil_div(at->col - phase.first, phase.step));
    const ptrdiff_t end = cnn_min(phase.count, cnn_ceil_div(at->col + at->cols - phase.first, phase.step));
    const ptrdiff_t tiles = cnn_ceil_div(end - begin, nb), first_k = FN(block_at)(v, at->block);
    ptrdiff_t n = 0, from_row, from_col;
    for (ptrdiff_t r = 0; r < c->row.taps; r++)
        for (ptrdiff_t s = 0; FN(reads)(&c->row, o, r, &from_row) && s < c->col.taps; s++)
            if (FN(reads)(&c->col, phase.first, s, &from_col))
                taps[n++] = ((from_row + c->top) * pitch + from_col + c->left) * L;
    const ptrdiff_t most = cnn_max(1, PANEL_BYTES / (cnn_max(1, n) * nb * L * (ptrdiff_t)sizeof(REAL)));
    const ptrdiff_t cuts = cnn_ceil_div(c->cin, most), plane = FN(plane_size)(&c->from);
    const REAL *source = FN(plane)(&c->from, c->from.first + at->lane_group, at->group * c->cin);
    FN(cnn_gemm_tile) tile = {.c_i = (v->in_place ? c->to.edge.h * c->to.edge.w : at->rows * at->cols) * L,
                              .c_j = phase.step * L, .a_i = 1, .a_p = mb, .b_j = L, .tail = (int)L};
    FN(cnn_tap_tile) straight = {.c_i = tile.c_i, .c_j = tile.c_j, .tap = taps, .taps = n, .channels = c->cin,
                                 .x_c = plane, .x_p = phase.advance * L};
    for (ptrdiff_t i = 0; i < tiles; i++) {
        const ptrdiff_t from = begin + (end - begin) * i / tiles, to = begin + (end - begin) * (i + 1) / tiles;
        const REAL *x = source + from * phase.advance * L;
        const int width = (int)(to - from);
        REAL *y_at = y + (phase.first - at->col + from * phase.step) * L;
        if (v->straight) {
            straight.x = x;
            for (ptrdiff_t block = at->block; block < at->end; block++) {
                const ptrdiff_t k = FN(block_at)(v, block), rows = FN(block_at)(v, block + 1) - k;
                straight.a = w + block * c->cin * n * mb;
                straight.bias = c->bias ? c->bias + at->group * c->cout + k : NULL;
                straight.c = y_at + (k - first_k) * tile.c_i;
                table->tap_tile(&straight, (int)rows, width);
            }
            continue;
        }
        for (ptrdiff_t cut = 0; cut < cuts; cut++) {
            const ptrdiff_t first = c->cin * cut / cuts, channels = c->cin * (cut + 1) / cuts - first;
            table->panel(panel, x + first * plane, taps, n, channels, plane, phase.advance * L, width);
            FN(panel_source) next = {x + (first + channels) * plane, c->cin * (cut + 2) / cuts - first - channels, plane,
                                     phase.advance * L, width, taps, n};
            if (cut + 1 == cuts) {
                next.x = source + to * phase.advance * L;
                next.channels = i + 1 < tiles ? c->cin / cuts : 0;
            }
            tile.b = panel;
            tile.b_p = width * L;
            tile.depth = channels * n;
            tile.accumulate = cut > 0;
            for (ptrdiff_t block = at->block; block < at->end; block++) {
                const ptrdiff_t k = FN(block_at)(v, block), rows = FN(block_at)(v, block + 1) - k;
                FN(panel_fetch)(&next, block - at->block, at->end - at->block, L);
                tile.a = w + (block * c->cin + first) * n * mb;
                tile.bias = c->bias && !cut ? c->bias + at->group * c->cout + k : NULL;
                tile.c = y_at + (k - first_k) * tile.c_i;
                for (ptrdiff_t m = 0; v->in_place && !cut && m < rows; m++)
                    FN(fetch_output)(tile.c + m * tile.c_i, (width - 1) * tile.c_j + L);
                table->gemm_tile(&tile, (int)rows, width);
            }
        }
    }
}

/* A task's rows through the sink, from a strip [output channel][row][cols][L] with `channel` elements of each. */
static void FN(panels_finish)(const FN(panels) * v, const FN(panels_place) * at, REAL *strip, ptrdiff_t channel,
                              ptrdiff_t cols) {
    const FN(conv) *c = v->conv;
    const ptrdiff_t begin = FN(block_at)(v, at->block), end = FN(block_at)(v, at->end);
    for (ptrdiff_t k = begin; k < end; k++)
        FN(sink_rows)(c->table, &c->to, c->from.first + at->lane_group, at->group * c->cout + k,
                      strip + (k - begin) * channel, cols, at->row, at->rows, at->col, at->cols);
}

static void FN(panels_task)(const void *context, ptrdiff_t task, int thread) {
    const FN(panels) *v = context;
    const FN(conv) *c = v->conv;
    const FN(panels_place) at = FN(panels_at)(v, task);
    const ptrdiff_t L = c->table->lanes, mb = c->table->gemm_mb, area = c->row.taps * c->col.taps;
    REAL *strip = v->scratch + thread * v->scratch_size, *panel = strip + v->chunk * mb * v->strip * v->span * L;
    ptrdiff_t *taps = v->taps + thread * v->taps_size;
    const ptrdiff_t of_tap = v->blocks * c->cin * mb; /* packed weights of one tap */
    const FN(edge) *to = &c->to.edge;
    const ptrdiff_t channel = (c->from.first + at.lane_group) * to->channels + at.group * c->cout + FN(block_at)(v, at.block);
    REAL *y = v->in_place ? c->to.y + ((channel * to->h + at.row) * to->w + at.col) * L : strip;
    const ptrdiff_t pitch = v->in_place ? to->w : at.cols;
    for (ptrdiff_t r = 0; r < at.rows; r++) {
        const ptrdiff_t i = (at.row + r) % v->phases_h, taps_h = FN(phase_taps)(&c->row, i, i + 1);
        const REAL *w = v->packed + at.group * of_tap * area;
        w += of_tap * FN(phase_taps)(&c->row, 0, i) * FN(phase_taps)(&c->col, 0, v->phases_w);
        for (ptrdiff_t j = 0; j < v->phases_w; j++) {
            FN(panels_row)(v, &at, at.row + r, j, w, y + r * pitch * L, panel, taps);
            w += of_tap * taps_h * FN(phase_taps)(&c->col, j, j + 1);
        }
    }
    if (!v->in_place) FN(panels_finish)(v, &at, strip, at.rows * at.cols * L, at.cols);
}

#define STRIP_BYTES (128 << 10) /* outputs of a task before they are finished: part of a second-level cache */
#define STRAIGHT_BLOCKS 6       /* up to so many, the copies cost more than they save */

/* Decides how the work is cut, after conv_halo; returns the threads to use. */
static int FN(panels_size)(FN(panels) * v, FN(conv) * c) {
    const FN(cnn_table) *table = c->table;
    const ptrdiff_t L = table->lanes, mb = table->gemm_mb, size = (ptrdiff_t)sizeof(REAL);
    v->conv = c;
    v->phases_h = FN(phases)(&c->row);
    v->phases_w = FN(phases)(&c->col);
    FN(cut_blocks)(v, c->cout, mb);
    const ptrdiff_t items = FN(edge_items)(&c->grid), area = c->row.taps * c->col.taps;
    const double work = (double)items * (double)c->groups * (double)c->cout * (double)c->cin * (double)area *
                        (double)cnn_min(c->row.out * c->col.out, c->row.in * c->col.in);
    const int threads = cnn_threads_for(work / 4);
    /* As many whole rows as fit; else parts of two rows (which pooling needs), or of a tile's, and of the outputs. */
    const ptrdiff_t unit = v->strided ? v->strided->outputs : 2, row_bytes = v->blocks * mb * c->col.out * L * size;
    v->strip = cnn_min(c->row.out, cnn_max(1, STRIP_BYTES / row_bytes / unit) * unit);
    v->spans = cnn_min(cnn_ceil_div(c->col.out, 8 * table->gemm_nb), cnn_ceil_div(v->strip * row_bytes, 2 * STRIP_BYTES));
    v->span = cnn_ceil_div(cnn_ceil_div(c->col.out, v->spans), unit) * unit;
    v->spans = cnn_ceil_div(c->col.out, v->span);
    v->strips = cnn_ceil_div(c->row.out, v->strip);
    const ptrdiff_t units = cnn_ceil_div(items, L) * c->groups * v->strips * v->spans;
    const ptrdiff_t few = cnn_ceil_div(threads > 1 ? threads * TASKS_PER_THREAD : 1, units);
    const ptrdiff_t large = cnn_ceil_div(v->strip * row_bytes / v->spans, 2 * unit * STRIP_BYTES);
    v->chunk = cnn_ceil_div(v->blocks, cnn_min(v->blocks, cnn_max(few, large)));
    v->chunks = cnn_ceil_div(v->blocks, v->chunk);
    v->straight = v->chunk <= STRAIGHT_BLOCKS;
    v->in_place = c->to.edge.lanes && !c->to.scale && !c->to.pool && !c->to.relu;
    const ptrdiff_t panel = cnn_max(PANEL_BYTES / size, area * table->gemm_nb * L);
    const ptrdiff_t strip = cnn_ceil_div(v->strip, unit) * unit * v->span + (v->strided ? STRIDED_SUMS * table->gemm_nb : 0);
    v->scratch_size = v->chunk * mb * strip * L + panel;
    v->taps_size = area;
    return threads;
}

static void FN(panels_carve)(FN(panels) * v, cnn_carver *carver, int threads) {
    const FN(conv) *c = v->conv;
    const ptrdiff_t products = v->strided ? FN(strided_products)(v->strided) : c->row.taps * c->col.taps;
    v->packed = cnn_carve(carver, c->groups * v->blocks * c->cin * products * c->table->gemm_mb, sizeof(REAL));
    v->scratch = cnn_carve(carver, threads * v->scratch_size, sizeof(REAL));
    v->taps = cnn_carve(carver, threads * v->taps_size, sizeof(ptrdiff_t));
}

static void FN(panels_weights)(FN(panels) * v, int threads) {
    cnn_parallel_for(threads, v->conv->groups * v->blocks, v->strided ? FN(strided_pack) : FN(panels_pack), v);
}

/* The outputs of `count` lane groups, whose sources are packed. */
static void FN(panels_run)(FN(panels) * v, ptrdiff_t count, int threads) {
    cnn_parallel_for(threads, count * v->conv->groups * v->strips * v->spans * v->chunks,
                     v->strided ? FN(strided_task) : FN(panels_task), v);
}
