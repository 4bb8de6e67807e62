/* Matrix products and sums of rows. Equations: kernels.h. */

static INLINE void FN(gemm_body)(const FN(cnn_gemm_tile) * t, const int mb, const int nb, const int part) {
    vec acc[GEMM_MB][GEMM_NB];
    const ptrdiff_t a_i = t->a_i, a_p = t->a_p, b_p = t->b_p, b_j = t->b_j;
    UNROLL for (int i = 0; i < mb; i++)
        UNROLL for (int j = 0; j < nb; j++) {
            const REAL *c = t->c + i * t->c_i + j * t->c_j;
            if (t->bias) acc[i][j] = vec_set1(t->bias[i]);
            else if (!t->accumulate) acc[i][j] = (vec){0};
            else acc[i][j] = part && j == nb - 1 ? vec_load_part(c, t->tail) : vec_load(c);
        }
    const REAL *a = t->a, *b = t->b;
    for (ptrdiff_t p = 0; p < t->depth; p++, a += a_p, b += b_p) {
        vec bj[GEMM_NB];
        UNROLL for (int j = 0; j < nb; j++) {
            bj[j] = part && j == nb - 1 ? vec_load_part(b + j * b_j, t->tail) : vec_load(b + j * b_j);
            vec_keep(bj[j]);
        }
        UNROLL for (int i = 0; i < mb; i++) {
            const vec ai = vec_set1(a[i * a_i]);
            UNROLL for (int j = 0; j < nb; j++) acc[i][j] = vec_fma(ai, bj[j], acc[i][j]);
        }
    }
    UNROLL for (int i = 0; i < mb; i++)
        UNROLL for (int j = 0; j < nb; j++) {
            REAL *c = t->c + i * t->c_i + j * t->c_j;
            if (part && j == nb - 1) vec_store_part(c, acc[i][j], t->tail);
            else vec_store(c, acc[i][j]);
        }
}

#define GEMM_CASE(i, j)                                             \
    case (i) * 8 + (j):                                             \
        if ((i) <= GEMM_MB && (j) <= GEMM_NB) {                     \
            if (t->tail < LANES) FN(gemm_body)(t, (i), (j), 1);     \
            else FN(gemm_body)(t, (i), (j), 0);                     \
        }                                                           \
        break;
#define EACH_COLUMN(CASE, i) CASE(i, 1) CASE(i, 2) CASE(i, 3) CASE(i, 4)

void KERNEL(gemm_tile)(const FN(cnn_gemm_tile) * t, int mb, int nb) {
    switch (mb * 8 + nb) {
        EACH_COLUMN(GEMM_CASE, 1)
        EACH_COLUMN(GEMM_CASE, 2)
        EACH_COLUMN(GEMM_CASE, 3)
        EACH_COLUMN(GEMM_CASE, 4)
        EACH_COLUMN(GEMM_CASE, 5)
    }
}

#undef GEMM_CASE
#undef EACH_COLUMN

/* Four outputs at a time; each is a sum of two vectors' lanes, so that additions overlap. */
static INLINE void FN(dot_body)(REAL *y, const REAL *x, const REAL *w, const REAL *bias, const int outputs,
                                ptrdiff_t depth) {
    vec even[4], odd[4];
    UNROLL for (int j = 0; j < outputs; j++) even[j] = odd[j] = (vec){0};
    ptrdiff_t p = 0;
    for (; p + 2 * LANES <= depth; p += 2 * LANES) {
        vec x0 = vec_load(x + p), x1 = vec_load(x + p + LANES);
        UNROLL for (int j = 0; j < outputs; j++) {
            even[j] = vec_fma(x0, vec_load(w + j * depth + p), even[j]);
            odd[j] = vec_fma(x1, vec_load(w + j * depth + p + LANES), odd[j]);
        }
    }
    for (; p < depth; p += LANES) {
        const int n = (int)cnn_min(LANES, depth - p);
        const vec x0 = vec_load_part(x + p, n);
        UNROLL for (int j = 0; j < outputs; j++)
            even[j] = vec_fma(x0, vec_load_part(w + j * depth + p, n), even[j]);
    }
    UNROLL for (int j = 0; j < outputs; j++) y[j] = vec_sum(even[j] + odd[j]) + (bias ? bias[j] : 0);
}

void KERNEL(dot)(REAL *y, const REAL *x, const REAL *w, const REAL *bias, ptrdiff_t outputs, ptrdiff_t depth) {
    ptrdiff_t j = 0;
    for (; j + 4 <= outputs; j += 4) FN(dot_body)(y + j, x, w + j * depth, bias ? bias + j : NULL, 4, depth);
    for (; j < outputs; j++) FN(dot_body)(y + j, x, w + j * depth, bias ? bias + j : NULL, 1, depth);
}

void KERNEL(sum_rows)(REAL *y, const REAL *x, ptrdiff_t rows, ptrdiff_t cols, ptrdiff_t from, ptrdiff_t to) {
    for (ptrdiff_t j = from; j < to; j += LANES) {
        const int n = (int)cnn_min(LANES, to - j);
        vec s = {0};
        for (ptrdiff_t i = 0; i < rows; i++) s += n == LANES ? vec_load(x + i * cols + j) : vec_load_part(x + i * cols + j, n);
        vec_store_part(y + j, s, n);
    }
}

void KERNEL(sum_planes)(REAL *y, const REAL *x, ptrdiff_t rows, ptrdiff_t stride, ptrdiff_t cols) {
    vec s[4] = {{0}};
    for (ptrdiff_t i = 0; i < rows; i++, x += stride) {
        ptrdiff_t j = 0;
        for (; j + 4 * LANES <= cols; j += 4 * LANES)
            UNROLL for (int u = 0; u < 4; u++) s[u] += vec_load(x + j + u * LANES);
        for (; j < cols; j += LANES) s[0] += vec_load_part(x + j, (int)cnn_min(LANES, cols - j));
    }
    *y = vec_sum((s[0] + s[1]) + (s[2] + s[3]));
}

void KERNEL(sum_parts)(REAL *y, const REAL *x, ptrdiff_t parts, ptrdiff_t stride, ptrdiff_t n) {
    for (ptrdiff_t i = 0; i < n; i += LANES) {
        const int part = (int)cnn_min(LANES, n - i);
        vec s = vec_load_part(x + i, part);
        for (ptrdiff_t p = 1; p < parts; p++) s += vec_load_part(x + p * stride + i, part);
        vec_store_part(y + i, s, part);
    }
}

/* As many chains as a product tile has accumulators, at least enough to hide the latency of two units: what no
 * kernel exceeds, and no memory slows. */
#define CHAINS (GEMM_MB * GEMM_NB > 12 ? GEMM_MB * GEMM_NB : 12)

void KERNEL(fma_peak)(REAL *y, ptrdiff_t n) {
    vec s[CHAINS], half = vec_set1((REAL)0.5), one = vec_set1(1), sum = {0};
    vec_keep(half);
    vec_keep(one);
    UNROLL for (int i = 0; i < CHAINS; i++) s[i] = vec_set1((REAL)i); /* equal chains would be computed once */
    for (; n >= CHAINS; n -= CHAINS)
        UNROLL for (int i = 0; i < CHAINS; i++) s[i] = vec_fma(s[i], half, one);
    for (; n > 0; n--) s[0] = vec_fma(s[0], half, one);
    UNROLL for (int i = 0; i < CHAINS; i++) sum += s[i];
    *y = vec_sum(sum);
}

#undef CHAINS
