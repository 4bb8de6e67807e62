/* Batch normalisation. Equations: kernels.h. With `each`, every column is a channel, and a vector holds several. */

void KERNEL(moments)(REAL *sum, REAL *spread, const REAL *x, ptrdiff_t rows, ptrdiff_t cols, int each) {
    vec s[4] = {{0}}, m;
    if (!each) {
        ptrdiff_t j = 0;
        for (; j + 4 * LANES <= cols; j += 4 * LANES)
            UNROLL for (int u = 0; u < 4; u++) s[u] += vec_load(x + j + u * LANES);
        for (; j < cols; j += LANES) s[0] += FN(at)(x, j, cols);
        sum[0] = vec_sum((s[0] + s[1]) + (s[2] + s[3]));
        m = vec_set1(sum[0] / (REAL)cols);
        UNROLL for (int u = 0; u < 4; u++) s[u] = (vec){0};
        for (j = 0; j + 4 * LANES <= cols; j += 4 * LANES)
            UNROLL for (int u = 0; u < 4; u++) {
                const vec d = vec_load(x + j + u * LANES) - m;
                s[u] = vec_fma(d, d, s[u]);
            }
        REAL rest = 0;
        for (; j < cols; j++) rest += (x[j] - m[0]) * (x[j] - m[0]);
        spread[0] = vec_sum((s[0] + s[1]) + (s[2] + s[3])) + rest;
        return;
    }
    const vec count = vec_set1((REAL)rows);
    for (ptrdiff_t j = 0; j < cols; j += LANES) {
        s[0] = s[1] = (vec){0};
        for (ptrdiff_t i = 0; i < rows; i++) s[0] += FN(at)(x + i * cols, j, cols);
        m = s[0] / count;
        for (ptrdiff_t i = 0; i < rows; i++) {
            const vec d = FN(at)(x + i * cols, j, cols) - m;
            s[1] = vec_fma(d, d, s[1]);
        }
        FN(put)(sum, j, cols, s[0]);
        FN(put)(spread, j, cols, s[1]);
    }
}

/* dy, shut off by the ReLU after a channel of these parameters. */
static INLINE vec FN(through_relu)(vec dy, vec x, vec mean, vec scale, vec offset) {
    return (vec)((ivec)dy & (ivec)(vec_fma(x - mean, scale, offset) > (vec){0}));
}

static INLINE void FN(norm_sums_body)(REAL *sum, REAL *dot, const REAL *dy, const REAL *x, const FN(cnn_norm) * p,
                                      ptrdiff_t rows, ptrdiff_t cols, int each, const int relu) {
    vec s = {0}, d = {0}, m = vec_set1(p->mean[0]), k = vec_set1(p->scale[0]), b = vec_set1(p->offset[0]);
    if (!each) rows = 1;
    for (ptrdiff_t j = 0; j < cols; j += LANES) {
        if (each) {
            s = d = (vec){0};
            m = FN(at)(p->mean, j, cols);
            k = FN(at)(p->scale, j, cols);
            b = FN(at)(p->offset, j, cols);
        }
        for (ptrdiff_t i = 0; i < rows; i++) {
            const vec v = FN(at)(x + i * cols, j, cols);
            vec g = FN(at)(dy + i * cols, j, cols);
            if (relu) g = FN(through_relu)(g, v, m, k, b);
            s += g;
            d = vec_fma(g, v - m, d);
        }
        if (each) {
            FN(put)(sum, j, cols, s);
            FN(put)(dot, j, cols, d);
        }
    }
    if (!each) {
        sum[0] = vec_sum(s);
        dot[0] = vec_sum(d);
    }
}

void KERNEL(norm_sums)(REAL *sum, REAL *dot, const REAL *dy, const REAL *x, const FN(cnn_norm) * p, ptrdiff_t rows,
                       ptrdiff_t cols, int each) {
    if (p->relu) FN(norm_sums_body)(sum, dot, dy, x, p, rows, cols, each, 1);
    else FN(norm_sums_body)(sum, dot, dy, x, p, rows, cols, each, 0);
}

void KERNEL(norm)(REAL *y, const REAL *x, const FN(cnn_norm) * p, ptrdiff_t n, int each, int stream) {
    vec m = vec_set1(p->mean[0]), k = vec_set1(p->scale[0]), b = vec_set1(p->shift[0]);
    const ivec shut = ivec_set1(p->relu ? -1 : 0);
    EACH_VECTOR({
        if (each) {
            m = FN(at)(p->mean, i, n);
            k = FN(at)(p->scale, i, n);
            b = FN(at)(p->shift, i, n);
        }
        const vec v = vec_fma(FN(at)(x, i, n) - m, k, b);
        FN(send)(y, i, n, (vec)((ivec)v & ~(shut & (ivec)(v <= (vec){0}))), stream);
    })
}

static INLINE void FN(norm_grad_body)(REAL *dx, const REAL *dy, const REAL *x, const FN(cnn_norm) * p, ptrdiff_t n,
                                      int each, int stream, const int relu) {
    vec m = vec_set1(p->mean[0]), k = vec_set1(p->scale[0]), b = vec_set1(p->shift[0]), q = vec_set1(p->slope[0]);
    vec o = vec_set1(p->offset[0]);
    EACH_VECTOR({
        if (each) {
            m = FN(at)(p->mean, i, n);
            k = FN(at)(p->scale, i, n);
            b = FN(at)(p->shift, i, n);
            q = FN(at)(p->slope, i, n);
            o = FN(at)(p->offset, i, n);
        }
        const vec v = FN(at)(x, i, n);
        vec g = FN(at)(dy, i, n);
        if (relu) g = FN(through_relu)(g, v, m, k, o);
        FN(send)(dx, i, n, k * vec_fma(m - v, q, g - b), stream);
    })
}

void KERNEL(norm_grad)(REAL *dx, const REAL *dy, const REAL *x, const FN(cnn_norm) * p, ptrdiff_t n, int each,
                       int stream) {
    if (p->relu) FN(norm_grad_body)(dx, dy, x, p, n, each, stream, 1);
    else FN(norm_grad_body)(dx, dy, x, p, n, each, stream, 0);
}
