/* The exponential, and rectifiers with a slope. Equations: kernels.h.
 *
 * e^x = 2^k e^r with k = x/ln 2 rounded and |r| <= ln 2 / 2, where e^r - 1 is Taylor's polynomial, cut where the next
 * term is below a quarter of the last place. ln 2 is taken off in two parts, of which k times the first is exact. */
#if REAL_BYTES == 4
#define EXP_TERMS 7
#define EXP_LOWEST (-87.33654f) /* below it, 2^k is no normal number */
#define EXP_ROUND 12582912.0f /* 1.5 * 2^23: adding it leaves a rounded integer in the low bits */
#define EXP_MANTISSA 23
#define LN2_HIGH 0.693359375f
#define LN2_LOW (-2.12194440e-4f)
#else
#define EXP_TERMS 13
#define EXP_LOWEST (-708.39)
#define EXP_ROUND 6755399441055744.0
#define EXP_MANTISSA 52
#define LN2_HIGH 6.93147180369123816490e-01
#define LN2_LOW 1.90821492927058770002e-10
#endif

static const REAL FN(inverse_factorial)[14] = {
    1, 1, 0.5, (REAL)(1 / 6.0), (REAL)(1 / 24.0), (REAL)(1 / 120.0), (REAL)(1 / 720.0), (REAL)(1 / 5040.0),
    (REAL)(1 / 40320.0), (REAL)(1 / 362880.0), (REAL)(1 / 3628800.0), (REAL)(1 / 39916800.0), (REAL)(1 / 479001600.0),
    (REAL)(1 / 6227020800.0)};

/* Returns e^r - 1 and puts 2^k into *scale, for EXP_LOWEST <= x <= 0; a NaN stays one. */
static INLINE vec FN(exp_parts)(vec x, vec *scale) {
    const vec round = vec_set1((REAL)EXP_ROUND), one = vec_set1(1);
    const vec shifted = vec_fma(x, vec_set1((REAL)1.44269504088896340736), round), k = shifted - round;
    const vec r = vec_fma(k, vec_set1(-(REAL)LN2_LOW), vec_fma(k, vec_set1(-(REAL)LN2_HIGH), x));
    *scale = (vec)(((ivec)shifted << EXP_MANTISSA) + (ivec)one); /* k added to the exponent of 1 */
    vec p = vec_set1(FN(inverse_factorial)[EXP_TERMS]);
    UNROLL for (int i = EXP_TERMS - 1; i >= 2; i--) p = vec_fma(p, r, vec_set1(FN(inverse_factorial)[i]));
    return vec_fma(p, r * r, r);
}

/* e^x for x <= 0; 0 below the normal numbers. */
static INLINE vec FN(exp_of)(vec x) {
    const vec lowest = vec_set1((REAL)EXP_LOWEST);
    vec scale;
    const vec q = FN(exp_parts)(x, &scale);
    return (vec)((ivec)vec_fma(q, scale, scale) & ~(ivec)(x < lowest));
}

static INLINE vec FN(absolute)(vec x) {
    const vec negative_zero = -(vec){0};
    return (vec)((ivec)x & ~(ivec)negative_zero);
}

void KERNEL(exp_row)(REAL *y, const REAL *x, ptrdiff_t n, REAL *max, REAL *sum) {
    REAL top = x[0];
    if (n >= LANES) {
        vec most = vec_load(x);
        for (ptrdiff_t i = LANES; i < n; i += LANES) {
            const vec v = vec_load(x + cnn_min(i, n - LANES)); /* the last one may meet some again */
            most = vec_select((ivec)(v > most), v, most);
        }
        REAL each[LANES];
        vec_store(each, most);
        for (int l = 0; l < LANES; l++) top = each[l] > top ? each[l] : top;
    } else {
        for (ptrdiff_t i = 1; i < n; i++) top = x[i] > top ? x[i] : top;
    }
    const vec shift = vec_set1(top);
    vec total = {0};
    for (ptrdiff_t i = 0; i < n; i += LANES) {
        REAL each[LANES];
        const vec e = FN(exp_of)(FN(at)(x, i, n) - shift);
        if (y) FN(put)(y, i, n, e);
        vec_store(each, e);
        total += FN(at)(each, 0, n - i); /* with zeros past the end */
    }
    *max = top;
    *sum = vec_sum(total);
}

void KERNEL(leaky_relu)(REAL *y, const REAL *x, const REAL *slope, ptrdiff_t n, int each, int stream) {
    const vec zero = {0};
    vec s = vec_set1(slope[0]);
    EACH_VECTOR({
        const vec xi = FN(at)(x, i, n);
        if (each) s = FN(at)(slope, i, n);
        FN(send)(y, i, n, vec_select((ivec)(xi > zero), xi, s * xi), stream);
    })
}

void KERNEL(leaky_relu_grad)(REAL *dx, const REAL *dy, const REAL *x, const REAL *slope, ptrdiff_t n, int each,
                             int stream) {
    const vec zero = {0};
    vec s = vec_set1(slope[0]);
    EACH_VECTOR({
        const vec d = FN(at)(dy, i, n);
        if (each) s = FN(at)(slope, i, n);
        FN(send)(dx, i, n, vec_select((ivec)(FN(at)(x, i, n) > zero), d, s * d), stream);
    })
}

void KERNEL(slope_grad)(REAL *da, const REAL *dy, const REAL *x, ptrdiff_t rows, ptrdiff_t cols, int each) {
    const vec zero = {0};
    vec sum = {0};
    if (!each) rows = 1;
    for (ptrdiff_t j = 0; j < cols; j += LANES) {
        if (each) sum = zero;
        for (ptrdiff_t i = 0; i < rows; i++) {
            const vec xi = FN(at)(x + i * cols, j, cols), product = xi * FN(at)(dy + i * cols, j, cols);
            sum += (vec)((ivec)product & ~(ivec)(xi > zero));
        }
        if (each) FN(put)(da, j, cols, sum);
    }
    if (!each) da[0] = vec_sum(sum);
}

#undef EXP_TERMS
#undef EXP_LOWEST
#undef EXP_ROUND
#undef EXP_MANTISSA
#undef LN2_HIGH
#undef LN2_LOW
