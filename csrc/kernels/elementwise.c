/* Element by element: arithmetic and rectifier. Equations: kernels.h. */

/* Vector i of an array of n: the last one may be a part. */
static INLINE vec FN(at)(const REAL *p, ptrdiff_t i, ptrdiff_t n) {
    return i + LANES <= n ? vec_load(p + i) : vec_load_part(p + i, (int)(n - i));
}

static INLINE void FN(put)(REAL *p, ptrdiff_t i, ptrdiff_t n, vec v) {
    if (i + LANES <= n) vec_store(p + i, v);
    else vec_store_part(p + i, v, (int)(n - i));
}

/* The same past the caches if `stream`: p is on a multiple of a vector then. */
static INLINE void FN(send)(REAL *p, ptrdiff_t i, ptrdiff_t n, vec v, int stream) {
    if (i + LANES > n) vec_store_part(p + i, v, (int)(n - i));
    else if (stream) vec_stream(p + i, v);
    else vec_store(p + i, v);
}

/* The body for each vector i of n: in a loop for either value of `stream`, so that none tests it again and again. */
#define EACH_VECTOR(...)                                      \
    if (stream) {                                        \
        const int stream = 1;                            \
        for (ptrdiff_t i = 0; i < n; i += LANES) __VA_ARGS__; \
    } else {                                             \
        const int stream = 0;                            \
        for (ptrdiff_t i = 0; i < n; i += LANES) __VA_ARGS__; \
    }

void KERNEL(fence)(void) { vec_fence(); }

void KERNEL(arithmetic)(REAL *y, const REAL *a, const REAL *b, ptrdiff_t n, int stream, cnn_operation operation) {
#define COMBINE(op) EACH_VECTOR(FN(send)(y, i, n, FN(at)(a, i, n) op FN(at)(b, i, n), stream))
    switch (operation) {
        case CNN_ADD: COMBINE(+) return;
        case CNN_SUBTRACT: COMBINE(-) return;
        case CNN_MULTIPLY: COMBINE(*) return;
        case CNN_DIVIDE: COMBINE(/) return;
    }
#undef COMBINE
}

void KERNEL(divide_grad_b)(REAL *db, const REAL *dy, const REAL *b, const REAL *y, ptrdiff_t n, int stream) {
    EACH_VECTOR(FN(send)(db, i, n, -(FN(at)(dy, i, n) / FN(at)(b, i, n)) * FN(at)(y, i, n), stream))
}

void KERNEL(affine)(REAL *y, const REAL *x, ptrdiff_t n, int stream, REAL scale, REAL offset) {
    const vec k = vec_set1(scale), b = vec_set1(offset);
    EACH_VECTOR(FN(send)(y, i, n, vec_fma(FN(at)(x, i, n), k, b), stream))
}

void KERNEL(reciprocal)(REAL *y, const REAL *x, ptrdiff_t n, int stream, REAL numerator) {
    const vec k = vec_set1(numerator);
    EACH_VECTOR(FN(send)(y, i, n, k / FN(at)(x, i, n), stream))
}

void KERNEL(relu)(REAL *y, const REAL *x, ptrdiff_t n, int stream) {
    const vec zero = {0};
    EACH_VECTOR({
        const vec v = FN(at)(x, i, n);
        FN(send)(y, i, n, (vec)((ivec)v & ~(ivec)(v <= zero)), stream);
    })
}

void KERNEL(relu_grad)(REAL *dx, const REAL *dy, const REAL *x, ptrdiff_t n, int stream) {
    const vec zero = {0};
    EACH_VECTOR({
        const vec d = FN(at)(dy, i, n);
        FN(send)(dx, i, n, (vec)((ivec)d & (ivec)(FN(at)(x, i, n) > zero)), stream);
    })
}

void KERNEL(finite)(int *finite, const REAL *x, ptrdiff_t n, ptrdiff_t rows, ptrdiff_t stride) {
    ivec bits = {0};
    for (; rows > 0; rows--, x += stride) {
        ptrdiff_t i = 0;
        for (; i + LANES <= n; i += LANES) bits |= (ivec)(vec_load(x + i) - vec_load(x + i)); /* 0, or a NaN */
        if (i < n) bits |= (ivec)(FN(at)(x, i, n) - FN(at)(x, i, n));
    }
    REAL_INT lane[LANES];
    ivec_store(lane, bits);
    for (int l = 0; l < LANES; l++)
        if (lane[l]) *finite = 0;
}
