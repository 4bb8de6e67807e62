/* Activations that are a function of each number: its value, or, with `slope`, its derivative. Equations: cnn.h.
 *
 * e^-|x| and what can be made of it cannot overflow. A NaN stays one; where a curve has a kink, comparisons with it are
 * false. */
#if REAL_BYTES == 4
#define FLAT_END 20 /* 1 - e^-20 and tanh 10 round to 1 */
#define GAUSS_END 16 /* e^(-16^2 / 2) is below the normal numbers */
#define HALF_MANTISSA 12
static const REAL FN(tail_powers)[] = {
    0.7552851305f, -0.6078966314f, 0.3871373939f, -0.1865221598f, 0.06039664828f, -0.00753771716f, -0.003479954637f,
    0.001622040106f, 0.0001336533871f, -0.0002155737763f, -1.731082301e-6f, 2.118298426e-5f};
#else
#define FLAT_END 40
#define GAUSS_END 40
#define HALF_MANTISSA 27
static const REAL FN(tail_powers)[] = {
    0.755285130415751492, -0.6078966419718923, 0.387137400742214917, -0.186521857959636612, 0.0603965748909178723,
    -0.00754018896738631255, -0.00347969236704797363, 0.00163081846740990846, 0.000133344309411832544,
    -0.000231095017362774258, -1.90824635141457105e-6, 0.0000351451119028376513, 7.16658764119512099e-7,
    -5.92161104592397736e-6, -6.29836733849236905e-7, 1.02478510165527734e-6, 2.72462969511458721e-7,
    -1.59773961422392205e-7, -8.68664701599789276e-8, 1.78449277729814162e-8, 2.14276038434523559e-8,
    -5.8736267649871907e-10, -3.73064508186837028e-9, -1.19977820312530946e-10, 3.40331230864949465e-10};
#endif
#define TAIL_POWERS ((int)(sizeof FN(tail_powers) / sizeof(REAL)))

static INLINE vec FN(at_least)(vec x, vec least) { return vec_select((ivec)(x < least), least, x); }
static INLINE vec FN(at_most)(vec x, vec most) { return vec_select((ivec)(x > most), most, x); }
static INLINE vec FN(only)(ivec where, vec x) { return (vec)(where & (ivec)x); }

/* 1 - e^x for x <= 0, which cancels near 0 unless it is taken from e^r - 1. */
static INLINE vec FN(one_minus_exp)(vec x) {
    vec scale;
    const vec q = FN(exp_parts)(FN(at_least)(x, vec_set1(-FLAT_END)), &scale);
    return vec_fma(-q, scale, vec_set1(1) - scale);
}

static INLINE vec FN(sigmoid_of)(vec x) {
    const vec one = vec_set1(1), zero = {0}, e = FN(exp_of)(-FN(absolute)(x));
    return vec_select((ivec)(x > zero), one, e) / (one + e);
}

/* x is the curve's value for its slope, here and in tanh. */
static INLINE vec FN(sigmoid)(vec x, vec a, vec b, const int slope) {
    (void)a, (void)b;
    return slope ? x * (vec_set1(1) - x) : FN(sigmoid_of)(x);
}

/* tanh|x| = d / (2 - d) with d = 1 - e^(-2|x|). */
static INLINE vec FN(tanh)(vec x, vec a, vec b, const int slope) {
    const vec one = vec_set1(1), negative_zero = -(vec){0}, size = -FN(absolute)(x);
    (void)a, (void)b;
    if (slope) return (one - x) * (one + x);
    const vec d = FN(one_minus_exp)(size + size);
    return (vec)((ivec)(d / (one + one - d)) | ((ivec)x & (ivec)negative_zero));
}

static INLINE vec FN(leaky_relu)(vec x, vec a, vec b, const int slope) {
    (void)b;
    return vec_select((ivec)(x > (vec){0}), slope ? vec_set1(1) : x, slope ? a : a * x);
}

static INLINE vec FN(elu)(vec x, vec a, vec b, const int slope) {
    const vec zero = {0}, below = FN(at_most)(x, zero);
    const vec curved = slope ? a * FN(exp_of)(below) : vec_fma(-a, FN(one_minus_exp)(below), zero);
    return vec_select((ivec)(x > zero), slope ? b : b * x, curved);
}

static INLINE vec FN(hardtanh)(vec x, vec a, vec b, const int slope) {
    return slope ? FN(only)((ivec)(x > a) & (ivec)(x < b), vec_set1(1)) : FN(at_most)(FN(at_least)(x, a), b);
}

static INLINE vec FN(hardsigmoid)(vec x, vec a, vec b, const int slope) {
    const vec zero = {0}, one = vec_set1(1), y = a * x + b;
    return slope ? FN(only)((ivec)(y > zero) & (ivec)(y < one), a) : FN(at_most)(FN(at_least)(y, zero), one);
}

static INLINE vec FN(hardswish)(vec x, vec a, vec b, const int slope) {
    const vec zero = {0}, three = vec_set1(3), six = vec_set1(6);
    (void)a, (void)b;
    if (!slope) return x * (FN(at_most)(FN(at_least)(x + three, zero), six) / six);
    const vec inside = x / three + vec_set1((REAL)0.5);
    return FN(only)((ivec)(x > -three), vec_select((ivec)(x < three), inside, vec_set1(1)));
}

static INLINE vec FN(softsign)(vec x, vec a, vec b, const int slope) {
    const vec one = vec_set1(1), size = one + FN(absolute)(x), inverse = one / size;
    (void)a, (void)b;
    return slope ? inverse * inverse : x / size;
}

static INLINE vec FN(softplus)(vec x, vec a, vec b, const int slope) {
    const vec zero = {0}, one = vec_set1(1), z = a * x;
    const ivec linear = (ivec)(z > b);
    if (slope) return vec_select(linear, one, FN(sigmoid_of)(z));
    const vec e = FN(exp_of)(-FN(absolute)(z));
    const vec y = vec_select((ivec)(z < zero), zero, z) + FN(twice_artanh)(e / (one + one + e));
    return vec_select(linear, x, y / a);
}

static INLINE vec FN(silu)(vec x, vec a, vec b, const int slope) {
    const vec one = vec_set1(1), s = FN(sigmoid_of)(x);
    (void)a, (void)b;
    return slope ? vec_fma(x * s, one - s, s) : x * s;
}

/* tanh(log(1 + e^x)) = n/d with n = (1 + e^x)^2 - 1 and d = n + 2, both by e^(-2x) where x > 0. */
static INLINE vec FN(mish)(vec x, vec a, vec b, const int slope) {
    const vec one = vec_set1(1), two = vec_set1(2), four = vec_set1(4), e = FN(exp_of)(-FN(absolute)(x));
    const ivec positive = (ivec)(x > (vec){0});
    const vec n = vec_select(positive, vec_fma(two, e, one), vec_fma(e, e, two * e));
    const vec d = n + two * vec_select(positive, e * e, one);
    (void)a, (void)b;
    if (!slope) return x * (n / d);
    return vec_fma(x, four * vec_select(positive, e * e, e) * (one + e) / (d * d), n / d);
}

/* Phi(x), the share of a normal distribution below x, and *density = e^(-x^2/2) for |x| <= GAUSS_END. The square's
 * rounding would count as much as the square is large: it is made good by parts of half the digits. The tail is
 * Phi(-t) = e^(-t^2/2) p(s) / (t + 4) with s = (t - 4)/(t + 4); its polynomial p is from tools/normal_tail.py. */
static INLINE vec FN(normal_of)(vec x, vec *density) {
    const vec one = vec_set1(1), half = vec_set1((REAL)0.5), four = vec_set1(4), t = FN(absolute)(x), square = t * t;
    const vec high = (vec)((ivec)t & ivec_set1(-((REAL_INT)1 << HALF_MANTISSA))), low = t - high;
    const vec rest = (high * high - square) + (high + t) * low;
    const vec e = FN(exp_of)(-half * square), inverse = one / (t + four), s = (t - four) * inverse;
    vec p = vec_set1(FN(tail_powers)[TAIL_POWERS - 1]);
    for (int i = TAIL_POWERS - 2; i >= 0; i--) p = vec_fma(p, s, vec_set1(FN(tail_powers)[i]));
    *density = vec_fma(-half * rest, e, e);
    p *= inverse * *density;
    return vec_select((ivec)(x > (vec){0}), one - p, p);
}

static INLINE vec FN(gelu)(vec x, vec a, vec b, const int slope) {
    const vec end = vec_set1(GAUSS_END), near = FN(at_most)(FN(at_least)(x, -end), end);
    vec density;
    const vec share = FN(normal_of)(near, &density);
    (void)a, (void)b;
    return slope ? vec_fma(near * vec_set1((REAL)0.39894228040143267794), density, share) : x * share;
}

/* (1 + tanh u)/2 is the sigmoid of 2u, where u = sqrt(2/pi) (x + 0.044715 x^3). */
static INLINE vec FN(gelu_tanh)(vec x, vec a, vec b, const int slope) {
    const vec one = vec_set1(1), three = vec_set1(3), end = vec_set1(GAUSS_END);
    const vec near = FN(at_most)(FN(at_least)(x, -end), end), square = near * near;
    const vec first = vec_set1((REAL)1.59576912160573071176), third = vec_set1((REAL)(1.59576912160573071176 * 0.044715));
    const vec s = FN(sigmoid_of)(near * vec_fma(third, square, first));
    (void)a, (void)b;
    return slope ? vec_fma(near * vec_fma(three * third, square, first) * s, one - s, s) : x * s;
}

#define EACH_CURVE(K)                                                                                             \
    K(CNN_ELU, elu) K(CNN_GELU, gelu) K(CNN_GELU_TANH, gelu_tanh) K(CNN_HARDSIGMOID, hardsigmoid)                 \
    K(CNN_HARDSWISH, hardswish) K(CNN_HARDTANH, hardtanh) K(CNN_LEAKY_RELU, leaky_relu) K(CNN_MISH, mish)         \
    K(CNN_SIGMOID, sigmoid) K(CNN_SILU, silu) K(CNN_SOFTPLUS, softplus) K(CNN_SOFTSIGN, softsign) K(CNN_TANH, tanh)

/* y = f(x), or dy f'(x) if there is a dy: n numbers, whole vectors. */
static void FN(curve)(REAL *y, const REAL *dy, const REAL *x, ptrdiff_t n, int stream, cnn_activation kind, vec a,
                      vec b) {
#define EACH(kind, curve)                                                                             \
    case kind:                                                                                        \
        if (dy)                                                                                       \
            for (ptrdiff_t i = 0; i < n; i += LANES)                                                  \
                FN(send)(y, i, n, vec_load(dy + i) * FN(curve)(vec_load(x + i), a, b, 1), stream);    \
        else                                                                                          \
            for (ptrdiff_t i = 0; i < n; i += LANES)                                                  \
                FN(send)(y, i, n, FN(curve)(vec_load(x + i), a, b, 0), stream);                       \
        return;
    switch (kind) { EACH_CURVE(EACH) }
#undef EACH
}

void KERNEL(activation)(REAL *y, const REAL *dy, const REAL *x, ptrdiff_t n, int stream, cnn_activation kind, REAL a,
                        REAL b) {
    const ptrdiff_t rest = n % LANES, whole = n - rest;
    FN(curve)(y, dy, x, whole, stream, kind, vec_set1(a), vec_set1(b));
    if (!rest) return;
    REAL part[LANES], gradient[LANES];
    vec_store(part, vec_load_part(x + whole, (int)rest));
    if (dy) vec_store(gradient, vec_load_part(dy + whole, (int)rest));
    FN(curve)(part, dy ? gradient : NULL, part, LANES, 0, kind, vec_set1(a), vec_set1(b));
    vec_store_part(y + whole, vec_load(part), (int)rest);
}

#undef FLAT_END
#undef GAUSS_END
#undef HALF_MANTISSA
#undef TAIL_POWERS
#undef EACH_CURVE
