/* A matrix product in register tiles, as the dense layer and the weight gradient by tiles take it. Included once per REAL. */

/* Rows of arrays that will soon be needed, fetched `some` at a time between tiles. */
#define AHEAD_ARRAYS 4
typedef struct {
    const REAL *array[AHEAD_ARRAYS]; /* each may be NULL */
    ptrdiff_t stride, cols, rows, row, some;
} FN(ahead);

static void FN(fetch)(FN(ahead) * a) {
    const ptrdiff_t line = 64 / (ptrdiff_t)sizeof(REAL), from = a->row;
    a->row = cnn_min(a->rows, from + a->some);
    for (int k = 0; k < AHEAD_ARRAYS; k++)
        for (ptrdiff_t i = from; a->array[k] && i < a->row; i++)
            for (ptrdiff_t j = 0; j < a->cols; j += line) __builtin_prefetch(a->array[k] + i * a->stride + j, 0, 2);
}

static ptrdiff_t FN(tiles)(const FN(cnn_table) * t, ptrdiff_t rows, ptrdiff_t cols) {
    return cnn_ceil_div(rows, t->gemm_mb) * cnn_ceil_div(cnn_ceil_div(cols, t->lanes), t->gemm_nb);
}

/* A product of rows × cols, cols in elements; `tile` gives its operands and strides, `ahead` may be NULL. A panel of
 * columns at a time, so that these columns of b stay in cache for all rows. */
static void FN(multiply)(const FN(cnn_table) * t, FN(cnn_gemm_tile) tile, ptrdiff_t rows, ptrdiff_t cols,
                         FN(ahead) * ahead) {
    const FN(cnn_gemm_tile) all = tile;
    const ptrdiff_t L = t->lanes, vectors = cnn_ceil_div(cols, L), panels = cnn_ceil_div(vectors, t->gemm_nb);
    for (ptrdiff_t panel = 0; panel < panels; panel++) {
        const ptrdiff_t from = vectors * panel / panels, to = vectors * (panel + 1) / panels;
        const ptrdiff_t tiles = cnn_ceil_div(rows, t->gemm_rows[to - from]);
        const ptrdiff_t height = rows / tiles, higher = rows % tiles; /* so many tiles have a row more */
        tile.b = all.b + from * all.b_j;
        tile.tail = (int)cnn_min(L, cols - (to - 1) * L);
        for (ptrdiff_t i = 0, row = 0, mb; i < tiles; i++, row += mb) {
            mb = height + (i < higher);
            if (ahead && ahead->row < ahead->rows) FN(fetch)(ahead);
            tile.c = all.c + row * all.c_i + from * all.c_j;
            tile.a = all.a + row * all.a_i;
            tile.bias = all.bias ? all.bias + row : NULL;
            t->gemm_tile(&tile, (int)mb, (int)(to - from));
        }
    }
}
