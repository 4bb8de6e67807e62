/* Local response normalisation: sums over neighbouring channels. Equations: kernels.h. */

/* sum over channels from <= j < to of x^2, or of x if not `square`, at vector i. */
static INLINE vec FN(across)(const REAL *x, ptrdiff_t from, ptrdiff_t to, ptrdiff_t plane, ptrdiff_t i, ptrdiff_t n,
                             const int square) {
    vec sum = {0};
    for (ptrdiff_t j = from; j < to; j++) {
        const vec v = FN(at)(x + j * plane, i, n);
        sum = square ? vec_fma(v, v, sum) : sum + v;
    }
    return sum;
}

/* d^-beta for d > 0, by the logarithm, whose product stays where 2^k is a number. A NaN stays one. */
static INLINE vec FN(power_of)(vec d, vec beta) {
    const vec most = vec_set1((REAL)(REAL_BYTES == 4 ? 88 : 709));
    return vec_select((ivec)(d == d), FN(exp_of)(FN(at_most)(-beta * FN(log_of)(d), most)), d);
}

void KERNEL(response)(REAL *y, REAL *t, const REAL *dy, const REAL *x, ptrdiff_t channels, ptrdiff_t plane, ptrdiff_t n,
                      const cnn_response *p) {
    const vec scale = vec_set1((REAL)p->scale), beta = vec_set1((REAL)p->beta), k = vec_set1((REAL)p->k);
    for (ptrdiff_t c = 0; c < channels; c++) {
        const ptrdiff_t from = cnn_max(0, c - p->before), to = cnn_min(channels, c + p->after + 1), at = c * plane;
        for (ptrdiff_t i = 0; i < n; i += LANES) {
            const vec d = vec_fma(scale, FN(across)(x, from, to, plane, i, n, 1), k);
            const vec v = FN(at)(x + at, i, n), power = FN(power_of)(d, beta);
            if (dy) {
                const vec g = FN(at)(dy + at, i, n) * power;
                FN(put)(t + at, i, n, g * v / d);
                FN(put)(y + at, i, n, g);
            } else {
                FN(put)(y + at, i, n, v * power);
            }
        }
    }
}

void KERNEL(response_grad)(REAL *dx, const REAL *t, const REAL *x, ptrdiff_t channels, ptrdiff_t plane, ptrdiff_t n,
                           const cnn_response *p) {
    const vec factor = vec_set1((REAL)(-2 * p->scale * p->beta));
    for (ptrdiff_t c = 0; c < channels; c++) {
        const ptrdiff_t from = cnn_max(0, c - p->after), to = cnn_min(channels, c + p->before + 1), at = c * plane;
        for (ptrdiff_t i = 0; i < n; i += LANES) {
            const vec sum = FN(across)(t, from, to, plane, i, n, 0);
            FN(put)(dx + at, i, n, vec_fma(factor * FN(at)(x + at, i, n), sum, FN(at)(dx + at, i, n)));
        }
    }
}
