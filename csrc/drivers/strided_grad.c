/* Weight gradient of 3×3 filters at stride 2 with 25 products instead of 36, as forward (strided.c). Included once per REAL.
 *
 * Along an axis, from two pixels of dy and the five of x that they meet,
 *   dw0 = [d0 (x0 - x2)] + [(d0 + d1) x2],  dw1 = [d0 x1 + d1 x3],  dw2 = [(d0 + d1) x2] + [d1 (x4 - x2)],
 * and in two dimensions with each of these for each of those. The brackets are 4×4 sums over tiles and images, of 1, 2 or
 * 4 products. A task makes one of them for some channels, from a few rows of tiles at a time: all that products read of x,
 * and of dy for a block of output channels after the other, is written side by side, [channel][product][row][tile][L]. */

#define STRIDED_GRAD_DEPTH 48           /* vectors, at least, before lanes are added up, if there are as many */
#define STRIDED_GRAD_ROWS 16            /* of tiles, at most */
#define STRIDED_GRAD_BYTES (512 << 10)  /* what is written of x: part of a second-level cache */

static const int FN(grad_begin)[] = {0, 1, 3, 4, 5}; /* of each sum: its first product */
static const int FN(grad_x)[] = {0, 1, 3, 2, 4}, FN(grad_x_minus)[] = {2, 0, 0, 0, -2};
static const int FN(grad_dy)[] = {0, 0, 1, 0, 1}, FN(grad_dy_plus)[] = {0, 0, 0, 1, 0};

/* Into how many strips the rows of tiles are cut for a sum of so many products. */
static ptrdiff_t FN(strided_strips)(const FN(grad_w) * v, ptrdiff_t products) {
    const ptrdiff_t high = cnn_ceil_div(v->oh, 2), wide = cnn_ceil_div(v->ow, 2);
    return cnn_ceil_div(high, cnn_min(STRIDED_GRAD_ROWS, cnn_ceil_div(STRIDED_GRAD_DEPTH, cnn_max(products, 2) * wide)));
}

/* Cuts the work, and makes room for the last tiles. */
ONCE static void FN(strided_grad_size)(FN(grad_w) * v) {
    const ptrdiff_t L = v->table->lanes, high = cnn_ceil_div(v->oh, 2), wide = cnn_ceil_div(v->ow, 2);
    ptrdiff_t depth = 0;
    for (ptrdiff_t products = 1; products <= 4; products *= 2)
        depth = cnn_max(depth, products * wide * cnn_ceil_div(high, FN(strided_strips)(v, products)));
    v->strip = STRIDED_GRAD_BYTES / (depth * L * (ptrdiff_t)sizeof(REAL));
    v->strips = cnn_ceil_div(v->cin, cnn_max(v->strip, v->table->grad_tb));
    v->strip = cnn_ceil_div(v->cin, v->strips);
    v->scratch_size = (v->strip + v->table->grad_kb) * depth * L;
    v->x.edge.rows = 4 * high + 1;
    v->x.edge.cols = 4 * wide + 1;
}

ONCE static void FN(strided_grad_task)(const void *context, ptrdiff_t task, int thread) {
    const FN(grad_w) *v = context;
    const FN(cnn_table) *table = v->table;
    const ptrdiff_t L = table->lanes, s = task % STRIDED_GRAD_SUMS, strip = task / STRIDED_GRAD_SUMS % v->strips;
    const ptrdiff_t rest = task / (STRIDED_GRAD_SUMS * v->strips), group = rest % v->p->groups, part = rest / v->p->groups;
    const ptrdiff_t c0 = v->cin * strip / v->strips, channels = v->cin * (strip + 1) / v->strips - c0;
    const ptrdiff_t columns = cnn_ceil_div(channels, table->grad_tb), wide = cnn_ceil_div(v->ow, 2);
    const ptrdiff_t high = cnn_ceil_div(v->oh, 2), x_r = v->x.edge.cols * L, dy_r = v->dy->edge.cols * L;
    const int *row = FN(grad_begin) + s / 4, *col = FN(grad_begin) + s % 4;
    const ptrdiff_t strips = FN(strided_strips)(v, (row[1] - row[0]) * (col[1] - col[0]));
    REAL *side_dy = v->scratch + thread * v->scratch_size;
    for (ptrdiff_t unit = v->first * strips; unit < v->end * strips; unit++) {
        const REAL *x = FN(plane)(&v->x, unit / strips, group * v->cin + c0);
        const REAL *dy = FN(plane)(v->dy, unit / strips, group * v->cout) + v->dy->edge.top * dy_r + v->dy->edge.left * L;
        FN(cnn_difference) of_x[4 * STRIDED_GRAD_ROWS], of_dy[4 * STRIDED_GRAD_ROWS];
        ptrdiff_t n = 0, tap[8];
        for (int i = row[0]; i < row[1]; i++)
            for (int j = col[0]; j < col[1]; j++)
                for (ptrdiff_t r = high * (unit % strips) / strips; r < high * (unit % strips + 1) / strips; r++, n++) {
                    of_x[n] = (FN(cnn_difference)){(4 * r + FN(grad_x)[i]) * x_r + FN(grad_x)[j] * L,
                                                   FN(grad_x_minus)[i] * x_r, FN(grad_x_minus)[j] * L};
                    of_dy[n] = (FN(cnn_difference)){(2 * r + FN(grad_dy)[i]) * dy_r + FN(grad_dy)[j] * L,
                                                    FN(grad_dy_plus)[i] * dy_r, FN(grad_dy_plus)[j] * L};
                }
        const ptrdiff_t depth = n * wide;
        REAL *side_x = side_dy + table->grad_kb * depth * L;
        for (int j = 0; j < table->grad_tb; j++) tap[j] = j * depth * L;
        FN(cnn_grad_tile) tile = {.dw_k = v->cin, .dy = side_dy, .dy_k = depth * L, .x_p = L, .tap = tap, .rows = 1, .cols = depth};
        table->panel_differences(side_x, x, of_x, n, channels, FN(plane_size)(&v->x), 4 * L, (int)wide, -1);
        for (ptrdiff_t block = v->blocks * part / v->parts; block < v->blocks * (part + 1) / v->parts; block++) {
            const ptrdiff_t k = v->cout * block / v->blocks, kb = v->cout * (block + 1) / v->blocks - k;
            const ptrdiff_t plane = FN(plane_size)(v->dy);
            table->panel_differences(side_dy, dy + k * plane, of_dy, n, kb, plane, 2 * L, (int)wide, 1);
            for (ptrdiff_t i = 0; i < columns; i++) {
                const ptrdiff_t from = channels * i / columns, to = channels * (i + 1) / columns;
                tile.x = side_x + from * depth * L;
                tile.dw = v->sums + ((s * v->p->k + group * v->cout + k) * v->cin + c0 + from);
                table->grad_tile(&tile, (int)kb, (int)(to - from));
            }
        }
    }
}

/* The weights of an output channel from its sums. */
static void FN(strided_grad_taps)(const void *context, ptrdiff_t k, int thread) {
    const FN(grad_w) *v = context;
    const ptrdiff_t size = v->p->k * v->cin;
    const REAL *sums = v->sums + k * v->cin;
    REAL *dw = v->dw + k * v->columns;
    (void)thread;
    for (ptrdiff_t c = 0; c < v->cin; c++, dw += 9) {
        REAL rows[3][4];
        for (int j = 0; j < 4; j++) {
            const REAL *at = sums + j * size + c, both = at[8 * size];
            rows[0][j] = at[0] + both;
            rows[1][j] = at[4 * size];
            rows[2][j] = both + at[12 * size];
        }
        for (int i = 0; i < 3; i++) {
            dw[3 * i] = rows[i][0] + rows[i][2];
            dw[3 * i + 1] = rows[i][1];
            dw[3 * i + 2] = rows[i][2] + rows[i][3];
        }
    }
}
