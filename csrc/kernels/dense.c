/* Matrix products and sums of rows. Equations: kernels.h. */

static INLINE vec FN(positive)(vec v) { return (vec)((ivec)v & ~(ivec)(v <= (vec){0})); }

#define MOST_ROWS GEMM_ROWS(1)

static INLINE void FN(gemm_body)(const FN(cnn_gemm_tile) * t, const int mb, const int nb, const int part) {
    vec acc[MOST_ROWS][GEMM_NB];
    const ptrdiff_t a_i = t->a_i, a_p = t->a_p, b_p = t->b_p, b_j = t->b_j, c_i = t->c_i, c_j = t->c_j;
    REAL *const c = t->c;
    const int tail = t->tail, relu = t->relu;
    UNROLL for (int i = 0; i < mb; i++)
        UNROLL for (int j = 0; j < nb; j++) {
            const REAL *at = c + i * c_i + j * c_j;
            if (t->bias) acc[i][j] = vec_set1(t->bias[i]);
            else if (!t->accumulate || t->apart) acc[i][j] = (vec){0};
            else acc[i][j] = part && j == nb - 1 ? vec_load_part(at, tail) : vec_load(at);
        }
    const REAL *a = t->a, *b = t->b;
    for (ptrdiff_t p = 0; p < t->depth; p++, a += a_p, b += b_p) {
        vec bj[GEMM_NB];
        UNROLL for (int j = 0; j < nb; j++) {
            bj[j] = part && j == nb - 1 ? vec_load_part(b + j * b_j, tail) : vec_load(b + j * b_j);
            vec_keep(bj[j]);
        }
        UNROLL for (int i = 0; i < mb; i++) {
            const vec ai = vec_set1(a[i * a_i]);
            UNROLL for (int j = 0; j < nb; j++) acc[i][j] = vec_fma(ai, bj[j], acc[i][j]);
        }
    }
    if (t->accumulate && t->apart)
        UNROLL for (int i = 0; i < mb; i++)
            UNROLL for (int j = 0; j < nb; j++) {
                const REAL *at = c + i * c_i + j * c_j;
                acc[i][j] += part && j == nb - 1 ? vec_load_part(at, tail) : vec_load(at);
            }
    if (relu)
        UNROLL for (int i = 0; i < mb; i++)
            UNROLL for (int j = 0; j < nb; j++) acc[i][j] = FN(positive)(acc[i][j]);
    UNROLL for (int i = 0; i < mb; i++)
        UNROLL for (int j = 0; j < nb; j++) {
            REAL *at = c + i * c_i + j * c_j;
            if (part && j == nb - 1) vec_store_part(at, acc[i][j], tail);
            else vec_store(at, acc[i][j]);
        }
}

#define GEMM_CASE(i, j)                                         \
    case (i) * 8 + (j):                                         \
        if ((j) <= GEMM_NB && (i) <= GEMM_ROWS(j)) {            \
            if (t->tail < LANES) FN(gemm_body)(t, (i), (j), 1); \
            else FN(gemm_body)(t, (i), (j), 0);                 \
        }                                                       \
        break;
#define EACH_COLUMN(i) GEMM_CASE(i, 1) GEMM_CASE(i, 2) GEMM_CASE(i, 3) GEMM_CASE(i, 4)

void KERNEL(gemm_tile)(const FN(cnn_gemm_tile) * t, int mb, int nb) {
    switch (mb * 8 + nb) {
        EACH_COLUMN(1)
        EACH_COLUMN(2)
        EACH_COLUMN(3)
        EACH_COLUMN(4)
        EACH_COLUMN(5)
        EACH_COLUMN(6)
        EACH_COLUMN(7)
        EACH_COLUMN(8)
        EACH_COLUMN(9)
        EACH_COLUMN(10)
        EACH_COLUMN(11)
        EACH_COLUMN(12)
    }
}

#undef GEMM_CASE
#undef EACH_COLUMN
#undef MOST_ROWS

/* As many sums at a time as hide the additions' latency: outputs × images, or, of one image, two halves of each sum. */
static INLINE void FN(dots_body)(const FN(cnn_dots) * d, ptrdiff_t output, ptrdiff_t image, const int outputs,
                                 const int images) {
    const int halves = images == 1 ? 2 : 1, step = halves * LANES;
    const ptrdiff_t depth = d->depth;
    const REAL *x = d->x + image * depth, *w = d->w + output * depth;
    vec sum[4][4][2];
    UNROLL for (int j = 0; j < outputs; j++)
        UNROLL for (int n = 0; n < images; n++) sum[j][n][0] = sum[j][n][1] = (vec){0};
    ptrdiff_t p = 0;
    for (; p + step <= depth; p += step)
        UNROLL for (int h = 0; h < halves; h++) {
            vec xn[4];
            UNROLL for (int n = 0; n < images; n++) xn[n] = vec_load(x + n * depth + p + h * LANES);
            UNROLL for (int j = 0; j < outputs; j++) {
                vec wj = vec_load(w + j * depth + p + h * LANES);
                if (images > 1) vec_keep(wj);
                UNROLL for (int n = 0; n < images; n++) sum[j][n][h] = vec_fma(xn[n], wj, sum[j][n][h]);
            }
        }
    for (; p < depth; p += LANES) {
        const int part = (int)cnn_min(LANES, depth - p);
        vec xn[4];
        UNROLL for (int n = 0; n < images; n++) xn[n] = vec_load_part(x + n * depth + p, part);
        UNROLL for (int j = 0; j < outputs; j++) {
            const vec wj = vec_load_part(w + j * depth + p, part);
            UNROLL for (int n = 0; n < images; n++) sum[j][n][0] = vec_fma(xn[n], wj, sum[j][n][0]);
        }
    }
    UNROLL for (int j = 0; j < outputs; j++)
        UNROLL for (int n = 0; n < images; n++) {
            const REAL y = vec_sum(sum[j][n][0] + sum[j][n][1]) + (d->bias ? d->bias[output + j] : 0);
            d->y[(image + n) * d->outputs + output + j] = d->relu && y <= 0 ? 0 : y;
        }
}

/* Outputs that share the loads of one image; the images of a group share the loads of w. */
#define DOTS_CASE(images, outputs)                                                                  \
    case images:                                                                                    \
        for (; j + (outputs) <= last; j += (outputs)) FN(dots_body)(d, j, n, (outputs), (images));  \
        for (; j < last; j++) FN(dots_body)(d, j, n, 1, (images));                                  \
        break;

void KERNEL(dots)(const FN(cnn_dots) * d, ptrdiff_t from, ptrdiff_t to) {
    for (ptrdiff_t first = from; first < to; first += 12) {
        const ptrdiff_t last = cnn_min(to, first + 12);
        for (ptrdiff_t n = 0; n < d->images; n += 4) {
            ptrdiff_t j = first;
            switch (cnn_min(4, d->images - n)) {
                DOTS_CASE(1, 4)
                DOTS_CASE(2, 4)
                DOTS_CASE(3, 3)
                DOTS_CASE(4, 3)
            }
        }
    }
}

#undef DOTS_CASE

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
