/* Losses of elements. Equations: kernels.h.
 *
 * 2 artanh s = 2 s (1 + s^2/3 + s^4/5 + ...), for |s| <= 1/3 cut where the next term is below a quarter of the last place.
 * log(1 + f) is that of s = f/(2 + f), and log x that of x = 2^k (1 + f) with 1 + f from sqrt(1/2) to sqrt(2). */
#if REAL_BYTES == 4
#define ARTANH_TERMS 7
#define LOG_MANTISSA 23
#define LOG_ROUND 12582912.0f /* 1.5 * 2^23: an integer added to its bits is added to its value */
#define LOG_LEAST 1.17549435e-38f /* the smallest normal number */
#define LOG_LN2_HIGH 0.693359375f
#define LOG_LN2_LOW (-2.12194440e-4f)
#else
#define ARTANH_TERMS 16
#define LOG_MANTISSA 52
#define LOG_ROUND 6755399441055744.0
#define LOG_LEAST 2.2250738585072014e-308
#define LOG_LN2_HIGH 6.93147180369123816490e-01
#define LOG_LN2_LOW 1.90821492927058770002e-10
#endif

static INLINE vec FN(twice_artanh)(vec s) {
    const vec z = s * s, twice = s + s;
    vec p = vec_set1((REAL)(1.0 / (2 * ARTANH_TERMS + 1)));
    UNROLL for (int i = ARTANH_TERMS - 1; i >= 1; i--) p = vec_fma(p, z, vec_set1((REAL)(1.0 / (2 * i + 1))));
    return vec_fma(twice * z, p, twice);
}

/* log x for normal positive numbers. */
static INLINE vec FN(log_of)(vec x) {
    const vec one = vec_set1(1), two = vec_set1(2), round = vec_set1(LOG_ROUND);
    const vec root_half = vec_set1((REAL)0.70710678118654752440);
    const ivec power = ((ivec)x - (ivec)root_half) >> LOG_MANTISSA;
    const vec k = (vec)((ivec)round + power) - round;
    const vec f = (vec)((ivec)x - (power << LOG_MANTISSA)) - one;
    const vec rest = vec_fma(k, vec_set1(LOG_LN2_LOW), FN(twice_artanh)(f / (two + f)));
    return vec_fma(k, vec_set1(LOG_LN2_HIGH), rest);
}

/* The cost of a vector of elements, and its derivative. A NaN gives NaN. */
static INLINE vec FN(cost)(vec x, vec t, cnn_loss kind, vec *slope) {
    const vec one = vec_set1(1), zero = {0}, least = vec_set1(LOG_LEAST);
    if (kind == CNN_SQUARED) {
        *slope = x - t;
        return vec_set1((REAL)0.5) * *slope * *slope;
    }
    if (kind == CNN_ABSOLUTE) {
        const vec d = x - t;
        *slope = vec_select((ivec)(d > zero), one, vec_select((ivec)(d < zero), -one, d));
        return FN(absolute)(d);
    }
    if (kind == CNN_BINARY) {
        vec no = one - x, yes = vec_select((ivec)(x < least), least, x);
        no = vec_select((ivec)(no < least), least, no);
        *slope = (one - t) / no - t / yes;
        return (x - x) - vec_fma(t, FN(log_of)(yes), (one - t) * FN(log_of)(no));
    }
    const vec e = FN(exp_of)(-FN(absolute)(x));
    *slope = vec_select((ivec)(x > zero), one, e) / (one + e) - t;
    return vec_select((ivec)(x > zero), x, zero) - x * t + FN(twice_artanh)(e / (one + one + e));
}

void KERNEL(loss)(double *sum, REAL *dx, const REAL *x, const REAL *target, ptrdiff_t n, cnn_loss kind, REAL share) {
    const vec scale = vec_set1(share);
    vec costs = {0};
#define EACH_COST(kind)                                                                  \
    for (ptrdiff_t i = 0; i < n; i += LANES) {                                           \
        vec slope, cost = FN(cost)(FN(at)(x, i, n), FN(at)(target, i, n), kind, &slope); \
        FN(put)(dx, i, n, slope * scale);                                                \
        if (i + LANES > n) { /* two zeros past the end may cost something */             \
            REAL all[LANES];                                                             \
            vec_store(all, cost);                                                        \
            cost = vec_load_part(all, (int)(n - i));                                     \
        }                                                                                \
        costs += cost;                                                                   \
    }
    switch (kind) {
        case CNN_SQUARED: EACH_COST(CNN_SQUARED) break;
        case CNN_ABSOLUTE: EACH_COST(CNN_ABSOLUTE) break;
        case CNN_BINARY: EACH_COST(CNN_BINARY) break;
        case CNN_BINARY_LOGITS: EACH_COST(CNN_BINARY_LOGITS) break;
    }
#undef EACH_COST
    *sum = (double)vec_sum(costs);
}

#undef ARTANH_TERMS
#undef LOG_MANTISSA
#undef LOG_ROUND
#undef LOG_LEAST
#undef LOG_LN2_HIGH
#undef LOG_LN2_LOW
