/* Convolution forward of 3×3 filters at stride 2 in tiles of 2×2 outputs, with 25 products instead of 36. Included once per
 * REAL.
 *
 * Along an axis two outputs read five pixels, y0 = w0 x0 + w1 x1 + w2 x2 and y1 = w0 x2 + w1 x3 + w2 x4. With five products,
 *   y0 = [w0 (x0 - x2) + w1 x1] + [(w0 + w2) x2],  y1 = [(w0 + w2) x2] + [w1 x3 + w2 (x4 - x2)],
 * and in two dimensions with each of these for each of those. The brackets are 3×3 sums over channels and over 4, 2 or 1
 * products, which panels and matrix products make as in panels.c; an output is the sum of four of them. */

/* Of each product: the pixel that it reads, and how far from there the one that is subtracted is, or 0; and where the
 * products of a bracket begin, and those pixels that it reads. */
static const int FN(strided_minus)[] = {2, 0, 0, 0, -2}, FN(strided_begin)[] = {0, 2, 3, 5};
static const int FN(strided_pixel)[] = {0, 2, 2}, FN(strided_pixels)[] = {3, 1, 3};

/* Whether that is less work, a function of the sizes alone, as for tiles (conv.h). */
static int FN(strided_pays)(const cnn_conv2d *p, ptrdiff_t cin, ptrdiff_t cout) {
    if (p->r != 3 || p->s != 3 || p->stride_h != 2 || p->stride_w != 2 || p->dilation_h != 1 || p->dilation_w != 1 ||
        !strcmp(cnn_get_algorithm(), "direct"))
        return 0;
    const double products = (double)cin * (double)cout, moves = 4 * (double)(cin + cout);
    const double tiles = (double)cnn_ceil_div(p->oh, 2) * (double)cnn_ceil_div(p->ow, 2);
    return STRIDED_PRODUCTS * tiles * (products + moves) < 0.9 * 9 * (double)p->oh * (double)p->ow * products;
}

/* Room in the source for the last tiles, whose outputs need not all be there. */
static void FN(strided_halo)(FN(conv) * c) {
    c->from.edge.rows = cnn_max(c->from.edge.rows, 4 * cnn_ceil_div(c->row.out, 2) + 1);
    c->from.edge.cols = cnn_max(c->from.edge.cols, 4 * cnn_ceil_div(c->col.out, 2) + 1);
}

/* Weights -> [group][block of MB outputs][sum][input channel][product of the sum][MB]. */
static void FN(strided_pack)(const void *context, ptrdiff_t task, int thread) {
    const FN(panels) *v = context;
    const FN(conv) *c = v->conv;
    const ptrdiff_t mb = c->table->gemm_mb, k0 = FN(block_at)(v, task % v->blocks);
    const ptrdiff_t used = FN(block_at)(v, task % v->blocks + 1) - k0;
    const REAL *w = c->w + task / v->blocks * c->w_group + k0 * c->w_out;
    REAL *sum = v->packed + task * STRIDED_PRODUCTS * c->cin * mb, *to[STRIDED_PRODUCTS];
    ptrdiff_t step[STRIDED_PRODUCTS]; /* of each product: to the next channel */
    (void)thread;
    for (int s = 0; s < STRIDED_SUMS; s++) {
        const int *row = FN(strided_begin) + s / 3, *col = FN(strided_begin) + s % 3;
        const ptrdiff_t products = (row[1] - row[0]) * (col[1] - col[0]);
        REAL *product = sum;
        for (int i = row[0]; i < row[1]; i++)
            for (int j = col[0]; j < col[1]; j++, product += mb) {
                to[5 * i + j] = product;
                step[5 * i + j] = products * mb;
            }
        sum += c->cin * products * mb;
    }
    for (ptrdiff_t channel = 0; channel < c->cin; channel++, w += c->w_in) {
        for (ptrdiff_t k = 0; k < mb; k++) {
            REAL rows[5][3] = {{0}};
            const REAL *from = w + k * c->w_out;
            for (int j = 0; k < used && j < 3; j++) {
                rows[0][j] = from[j];
                rows[1][j] = rows[3][j] = from[3 + j];
                rows[2][j] = from[j] + from[6 + j];
                rows[4][j] = from[6 + j];
            }
            for (int i = 0; i < 5; i++) {
                REAL **at = to + 5 * i;
                at[0][k] = rows[i][0];
                at[1][k] = at[3][k] = rows[i][1];
                at[2][k] = rows[i][0] + rows[i][2];
                at[4][k] = rows[i][2];
            }
        }
        for (int p = 0; p < STRIDED_PRODUCTS; p++) to[p] += step[p];
    }
}

/* How a sum reads the source, pixels being told by their distance from a tile's first: the terms of its products, and
 * what has to be fetched for them. */
typedef struct {
    FN(cnn_difference) term[4];
    ptrdiff_t terms, pixel[9], pixels;
} FN(strided_sum);

static FN(strided_sum) FN(strided_terms)(int s, ptrdiff_t row, ptrdiff_t col) {
    const int a = s / 3, b = s % 3;
    FN(strided_sum) sum = {0};
    for (int i = FN(strided_begin)[a]; i < FN(strided_begin)[a + 1]; i++)
        for (int j = FN(strided_begin)[b]; j < FN(strided_begin)[b + 1]; j++)
            sum.term[sum.terms++] = (FN(cnn_difference)){i * row + j * col, FN(strided_minus)[i] * row,
                                                         FN(strided_minus)[j] * col};
    for (int i = 0; i < FN(strided_pixels)[a]; i++)
        for (int j = 0; j < FN(strided_pixels)[b]; j++)
            sum.pixel[sum.pixels++] = (FN(strided_pixel)[a] + i) * row + (FN(strided_pixel)[b] + j) * col;
    return sum;
}

/* The sums of `width` neighbouring tiles, the first of which reads the source at x; the tile that is next reads it at
 * `next`, or NULL. */
static void FN(strided_sums)(const FN(panels) * v, const FN(panels_place) * at, const FN(strided_sum) * sum, const REAL *x,
                             const REAL *next, int width, REAL *sums, REAL *panel) {
    const FN(conv) *c = v->conv;
    const FN(cnn_table) *table = c->table;
    const ptrdiff_t L = table->lanes, mb = table->gemm_mb, nb = table->gemm_nb, plane = FN(plane_size)(&c->from);
    const ptrdiff_t cuts = cnn_ceil_div(c->cin * 4 * nb * L * (ptrdiff_t)sizeof(REAL), PANEL_BYTES);
    const REAL *w = v->packed + at->group * v->blocks * STRIDED_PRODUCTS * c->cin * mb;
    FN(cnn_gemm_tile) tile = {.c_i = STRIDED_SUMS * nb * L, .c_j = L, .a_i = 1, .a_p = mb, .b_j = L, .b = panel,
                              .b_p = width * L, .tail = (int)L};
    for (int s = 0; s < STRIDED_SUMS; w += sum[s++].terms * c->cin * mb)
        for (ptrdiff_t cut = 0; cut < cuts; cut++) {
            const ptrdiff_t first = c->cin * cut / cuts, channels = c->cin * (cut + 1) / cuts - first;
            const int ahead = cut + 1 < cuts ? s : (s + 1) % STRIDED_SUMS;
            const REAL *source = cut + 1 < cuts ? x + (first + channels) * plane : s + 1 < STRIDED_SUMS ? x : next;
            const FN(panel_source) fetched = {source, source ? c->cin / cuts : 0, plane, 4 * L, width, sum[ahead].pixel,
                                              sum[ahead].pixels};
            table->panel_differences(panel, x + first * plane, sum[s].term, sum[s].terms, channels, plane, 4 * L, width);
            tile.depth = channels * sum[s].terms;
            tile.accumulate = cut > 0;
            for (ptrdiff_t block = at->block; block < at->end; block++) {
                const ptrdiff_t k = FN(block_at)(v, block), rows = FN(block_at)(v, block + 1) - k;
                FN(panel_fetch)(&fetched, block - at->block, at->end - at->block, L);
                tile.a = w + (block * STRIDED_PRODUCTS * c->cin + first * sum[s].terms) * mb;
                tile.bias = c->bias && s == STRIDED_SUMS / 2 && !cut ? c->bias + at->group * c->cout + k : NULL;
                tile.c = sums + ((k - FN(block_at)(v, at->block)) * STRIDED_SUMS + s) * nb * L;
                table->gemm_tile(&tile, (int)rows, width);
            }
        }
}

static void FN(strided_task)(const void *context, ptrdiff_t task, int thread) {
    const FN(panels) *v = context;
    const FN(conv) *c = v->conv;
    const FN(cnn_table) *table = c->table;
    const FN(panels_place) at = FN(panels_at)(v, task);
    const ptrdiff_t L = table->lanes, mb = table->gemm_mb, nb = table->gemm_nb, rows = cnn_ceil_div(at.rows, 2);
    const ptrdiff_t cols = cnn_ceil_div(at.cols, 2), channel = 4 * rows * cols * L; /* elements of one in the strip */
    const ptrdiff_t tiles = cnn_ceil_div(cols, nb), pitch = c->from.edge.cols;
    const ptrdiff_t begin = FN(block_at)(v, at.block), end = FN(block_at)(v, at.end);
    REAL *strip = v->scratch + thread * v->scratch_size, *sums = strip + v->chunk * mb * channel;
    REAL *panel = sums + v->chunk * mb * STRIDED_SUMS * nb * L;
    const REAL *source = FN(plane)(&c->from, c->from.first + at.lane_group, at.group * c->cin);
    FN(strided_sum) sum[STRIDED_SUMS];
    for (int s = 0; s < STRIDED_SUMS; s++) sum[s] = FN(strided_terms)(s, pitch * L, L);
    source += ((2 * at.row - c->row.pad + c->top) * pitch + 2 * at.col - c->col.pad + c->left) * L;
    for (ptrdiff_t i = 0; i < rows * tiles; i++) {
        const ptrdiff_t r = i / tiles, from = cols * (i % tiles) / tiles, to = cols * (i % tiles + 1) / tiles;
        const REAL *x = source + 4 * (r * pitch + from) * L, *next = to < cols ? x + 4 * (to - from) * L : NULL;
        FN(strided_sums)(v, &at, sum, x, r + 1 < rows && !next ? source + 4 * (r + 1) * pitch * L : next, (int)(to - from),
                         sums, panel);
        for (ptrdiff_t k = 0; k < end - begin; k++)
            table->strided_output(strip + k * channel + (4 * r * cols + 2 * from) * L, 2 * cols * L,
                                  sums + k * STRIDED_SUMS * nb * L, nb * L, to - from);
    }
    FN(panels_finish)(v, &at, strip, channel, 2 * cols);
}
