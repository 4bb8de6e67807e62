/* Convolution of 3×3 filters at stride 2, forward and input gradient, with 25 products instead of 36. Included once per
 * REAL.
 *
 * Along an axis two outputs read five pixels, y0 = w0 x0 + w1 x1 + w2 x2 and y1 = w0 x2 + w1 x3 + w2 x4. With five products,
 *   y0 = [w0 (x0 - x2) + w1 x1] + [(w0 + w2) x2],  y1 = [(w0 + w2) x2] + [w1 x3 + w2 (x4 - x2)],
 * and in two dimensions with each of these for each of those. The brackets are 3×3 sums over channels and over 4, 2 or 1
 * products, which panels and matrix products make as in panels.c; an output is the sum of four of them.
 *
 * Of the gradient, the outputs of one phase read two pixels each, those of the other one. Two of each have five products,
 *   [w2 (x0 - x1)] + [(w0 + w2) x1],  [(w0 + w2) x1] + [w0 (x2 - x1)],  and [w1 x0], [w1 x1] or [w1 x1], [w1 x2],
 * the latter where the phase of two pixels comes first. The 25 brackets are one product each, 16 of other weights. */

enum { FN(W0_W2) = 3 }; /* w0 + w2, in place of a tap */

static const FN(strided_way) FN(strided_ways)[] = {
    {2, 4, 3, {0, 2, 3, 5}, {0, 1, 2, 3, 4}, {2, 0, 0, 0, -2}, {0, 1, FN(W0_W2), 1, 2}},
    {4, 2, 4, {0, 1, 2, 3, 4, 5}, {0, 1, 2, 0, 1}, {1, 0, -1, 0, 0}, {2, FN(W0_W2), 0, 1}}};

/* The way of such a convolution, or NULL if it is more work, a function of the sizes alone, as for tiles (conv.h): `moves`
 * per channel and product of a tile, `once` for each pair of channels. */
ONCE static const FN(strided_way) * FN(strided_pays)(const cnn_conv2d *p, int gradient, int whole, double moves, double once) {
    const FN(strided_way) *way = FN(strided_ways) + gradient;
    if (p->r != 3 || p->s != 3 || p->stride_h != 2 || p->stride_w != 2 || p->dilation_h != 1 || p->dilation_w != 1 ||
        !strcmp(cnn_get_algorithm(), "direct"))
        return NULL;
    const FN(edge) y = {.images = p->n, .h = p->oh, .w = p->ow}, x = {.images = p->n, .h = p->h, .w = p->w};
    const FN(edge) *out = gradient ? &x : &y;
    const double cin = (double)(p->c / p->groups), cout = (double)(p->k / p->groups), products = cin * cout;
    const double direct = 9 * FN(tile_count)(out, 1, 1, whole) / (gradient ? 4 : 1);
    const double tiles = 25 * FN(tile_count)(out, way->outputs, gradient, whole);
    return tiles * (products + moves * (cin + cout)) + once * products < 0.9 * direct * products ? way : NULL;
}

/* The first source pixel of the tile whose first output is o. */
static ptrdiff_t FN(strided_first)(const FN(axis) * a, ptrdiff_t o) {
    return a->gradient ? (o + a->pad + 1) / 2 - 1 : 2 * o - a->pad;
}

/* Room in the source for the last tiles, whose outputs need not all be there. */
ONCE static void FN(strided_halo)(FN(conv) * c, const FN(strided_way) * way) {
    const ptrdiff_t rows = way->step * cnn_ceil_div(c->row.out, way->outputs) + 1;
    const ptrdiff_t cols = way->step * cnn_ceil_div(c->col.out, way->outputs) + 1;
    c->from.edge.rows = cnn_max(c->from.edge.rows, c->top + FN(strided_first)(&c->row, 0) + rows);
    c->from.edge.cols = cnn_max(c->from.edge.cols, c->left + FN(strided_first)(&c->col, 0) + cols);
}

/* Products that have weights of their own. */
static ptrdiff_t FN(strided_products)(const FN(strided_way) * way) {
    return way->begin[way->weights] * way->begin[way->weights];
}

/* Weights -> [group][block of MB outputs][sum][input channel][product of the sum][MB]. */
static void FN(strided_pack)(const void *context, ptrdiff_t task, int thread) {
    const FN(panels) *v = context;
    const FN(conv) *c = v->conv;
    const FN(strided_way) *way = v->strided;
    const ptrdiff_t mb = c->table->gemm_mb, k0 = FN(block_at)(v, task % v->blocks);
    const ptrdiff_t used = FN(block_at)(v, task % v->blocks + 1) - k0;
    const REAL *w = c->w + task / v->blocks * c->w_group + k0 * c->w_out;
    const int n = way->begin[way->weights];
    REAL *sum = v->packed + task * n * n * c->cin * mb, *to[25];
    ptrdiff_t step[25]; /* of each product: to the next channel */
    (void)thread;
    for (int s = 0; s < way->weights * way->weights; s++) {
        const int *row = way->begin + s / way->weights, *col = way->begin + s % way->weights;
        const ptrdiff_t products = (row[1] - row[0]) * (col[1] - col[0]);
        REAL *product = sum;
        for (int i = row[0]; i < row[1]; i++)
            for (int j = col[0]; j < col[1]; j++, product += mb) {
                to[n * i + j] = product;
                step[n * i + j] = products * mb;
            }
        sum += c->cin * products * mb;
    }
    for (ptrdiff_t channel = 0; channel < c->cin; channel++, w += c->w_in) {
        for (ptrdiff_t k = 0; k < mb; k++) {
            REAL rows[4][3] = {{0}}; /* of each tap, or sum of two: its row of weights */
            const REAL *from = w + k * c->w_out;
            for (int j = 0; k < used && j < 3; j++) {
                for (int i = 0; i < 3; i++) rows[i][j] = from[3 * i + j];
                rows[FN(W0_W2)][j] = from[j] + from[6 + j];
            }
            for (int i = 0; i < n; i++) {
                const REAL *row = rows[way->tap[i]], taps[] = {row[0], row[1], row[2], row[0] + row[2]};
                for (int j = 0; j < n; j++) to[n * i + j][k] = taps[way->tap[j]];
            }
        }
        for (int p = 0; p < n * n; p++) to[p] += step[p];
    }
}

/* How a sum reads the source, pixels being told by their distance from a tile's first: the terms of its products, and
 * what they read that no sum before it did; and the number of products whose weights are packed before its own. */
typedef struct {
    FN(cnn_difference) term[4];
    ptrdiff_t terms, pixel[9], pixels, before;
} FN(strided_sum);

/* Sum (a, b) of a tile; pixels of one row, and of one column more lie `row` and `col` further; `seen`: a bit for each. */
ONCE static FN(strided_sum) FN(strided_terms)(const FN(panels) * v, int a, int b, ptrdiff_t row, ptrdiff_t col, uint32_t *seen) {
    const FN(strided_way) *way = v->strided;
    const int *rows = way->begin + a, *cols = way->begin + b, last = way->weights - 1;
    const int *packed_rows = way->begin + cnn_min(a, last), *packed_cols = way->begin + cnn_min(b, last);
    /* a phase that reads one pixel, after one that reads two, begins with the second of these */
    const int down = a > 2 && v->conv->row.pad % 2 == 0, right = b > 2 && v->conv->col.pad % 2 == 0;
    FN(strided_sum) sum = {.before = packed_rows[0] * way->begin[way->weights] +
                                     (packed_rows[1] - packed_rows[0]) * packed_cols[0]};
    for (int i = rows[0]; i < rows[1]; i++)
        for (int j = cols[0]; j < cols[1]; j++) {
            const int r = way->pixel[i] + down, q = way->pixel[j] + right;
            sum.term[sum.terms++] = (FN(cnn_difference)){r * row + q * col, way->minus[i] * row, way->minus[j] * col};
            for (int k = 0; k < 4; k++) {
                const int at_r = r + k / 2 * way->minus[i], at_q = q + k % 2 * way->minus[j];
                const uint32_t bit = (uint32_t)1 << (5 * at_r + at_q);
                if (!(*seen & bit)) sum.pixel[sum.pixels++] = at_r * row + at_q * col;
                *seen |= bit;
            }
        }
    return sum;
}

/* Sums [s, end) of `width` neighbouring tiles, the first of which reads the source at x; after the last of all `n`, the
 * tile that is next reads it at `next`, or NULL. */
static void FN(strided_sums)(const FN(panels) * v, const FN(panels_place) * at, const FN(strided_sum) * sum, ptrdiff_t s,
                             ptrdiff_t end, ptrdiff_t n, const REAL *x, const REAL *next, int width, REAL *sums, REAL *panel) {
    const FN(conv) *c = v->conv;
    const FN(cnn_table) *table = c->table;
    const ptrdiff_t L = table->lanes, mb = table->gemm_mb, nb = table->gemm_nb, plane = FN(plane_size)(&c->from);
    const ptrdiff_t cuts = cnn_ceil_div(c->cin * sum->terms * nb * L * (ptrdiff_t)sizeof(REAL), PANEL_BYTES);
    const ptrdiff_t products = FN(strided_products)(v->strided), x_p = v->strided->step * L;
    const REAL *w = v->packed + at->group * v->blocks * products * c->cin * mb;
    FN(cnn_gemm_tile) tile = {.c_i = STRIDED_SUMS * nb * L, .c_j = L, .a_i = 1, .a_p = mb, .b_j = L, .b = panel,
                              .b_p = width * L, .tail = (int)L};
    for (; s < end; s++, sums += nb * L)
        for (ptrdiff_t cut = 0; cut < cuts; cut++) {
            const ptrdiff_t first = c->cin * cut / cuts, channels = c->cin * (cut + 1) / cuts - first;
            const FN(strided_sum) *ahead = sum + (cut + 1 < cuts ? s : (s + 1) % n);
            const REAL *source = cut + 1 < cuts ? x + (first + channels) * plane : s + 1 < n ? x : next;
            const FN(panel_source) fetched = {source, source ? c->cin / cuts : 0, plane, x_p, width, ahead->pixel, ahead->pixels};
            table->panel_differences(panel, x + first * plane, sum[s].term, sum[s].terms, channels, plane, x_p, width, -1);
            tile.depth = channels * sum[s].terms;
            tile.accumulate = cut > 0;
            for (ptrdiff_t block = at->block; block < at->end; block++) {
                const ptrdiff_t k = FN(block_at)(v, block), rows = FN(block_at)(v, block + 1) - k;
                FN(panel_fetch)(&fetched, block - at->block, at->end - at->block, L);
                tile.a = w + ((block * products + sum[s].before) * c->cin + first * sum[s].terms) * mb;
                tile.bias = c->bias && s == STRIDED_SUMS / 2 && !cut ? c->bias + at->group * c->cout + k : NULL;
                tile.c = sums + (k - FN(block_at)(v, at->block)) * tile.c_i;
                table->gemm_tile(&tile, (int)rows, width);
            }
        }
}

ONCE static void FN(strided_task)(const void *context, ptrdiff_t task, int thread) {
    const FN(panels) *v = context;
    const FN(conv) *c = v->conv;
    const FN(cnn_table) *table = c->table;
    const FN(panels_place) at = FN(panels_at)(v, task);
    const ptrdiff_t L = table->lanes, mb = table->gemm_mb, nb = table->gemm_nb, m = v->strided->outputs, phases = m / 2;
    const ptrdiff_t rows = cnn_ceil_div(at.rows, m), cols = cnn_ceil_div(at.cols, m), step = v->strided->step;
    const ptrdiff_t pitch = m * cols * L, channel = m * rows * pitch; /* elements of a row, and of a channel, in the strip */
    const ptrdiff_t tiles = cnn_ceil_div(cols, nb), x_r = c->from.edge.cols * L;
    const ptrdiff_t count = FN(block_at)(v, at.end) - FN(block_at)(v, at.block);
    REAL *strip = v->scratch + thread * v->scratch_size, *sums = strip + v->chunk * mb * channel;
    REAL *panel = sums + v->chunk * mb * STRIDED_SUMS * nb * L;
    const REAL *source = FN(plane)(&c->from, c->from.first + at.lane_group, at.group * c->cin);
    FN(strided_sum) sum[25];
    ptrdiff_t n = 0;
    uint32_t seen = 0;
    for (int phase = 0; phase < phases * phases; phase++)
        for (int a = 0; a < 3 - phase / 2; a++)
            for (int b = 0; b < 3 - phase % 2; b++)
                sum[n++] = FN(strided_terms)(v, phase / 2 * 3 + a, phase % 2 * 3 + b, x_r, L, &seen);
    source += (FN(strided_first)(&c->row, at.row) + c->top) * x_r + (FN(strided_first)(&c->col, at.col) + c->left) * L;
    for (ptrdiff_t i = 0; i < rows * tiles; i++) {
        const ptrdiff_t r = i / tiles, from = cols * (i % tiles) / tiles, to = cols * (i % tiles + 1) / tiles;
        const REAL *x = source + step * (r * x_r + from * L), *next = to < cols ? x + step * (to - from) * L : NULL;
        if (!next && r + 1 < rows) next = source + step * (r + 1) * x_r;
        for (ptrdiff_t phase = 0, s = 0; phase < phases * phases; phase++) {
            const int high = (int)(3 - phase / 2), wide = (int)(3 - phase % 2);
            FN(strided_sums)(v, &at, sum, s, s + high * wide, n, x, next, (int)(to - from), sums, panel);
            s += high * wide;
            REAL *y = strip + (m * r + (phase / 2 + c->row.pad) % phases) * pitch;
            y += (m * from + (phase % 2 + c->col.pad) % phases) * L;
            for (ptrdiff_t k = 0; k < count; k++)
                table->strided_output(y + k * channel, phases * pitch, phases * L, sums + k * STRIDED_SUMS * nb * L, nb * L,
                                      high, wide, to - from);
        }
    }
    FN(panels_finish)(v, &at, strip, channel, m * cols);
}
