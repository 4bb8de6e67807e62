/* Element by element: arithmetic, rectifier and the optimizers' updates. Equations: kernels.h. */

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

void KERNEL(sgd)(REAL *w, const REAL *g, REAL *v, ptrdiff_t n, const FN(cnn_sgd) * s) {
    const vec rate = vec_set1(-s->lr), momentum = vec_set1(s->momentum), decay = vec_set1(s->decay);
    for (ptrdiff_t i = 0; i < n; i += LANES) {
        const vec wi = FN(at)(w, i, n);
        vec step = vec_fma(decay, wi, FN(at)(g, i, n));
        if (v) {
            const vec vi = vec_fma(momentum, FN(at)(v, i, n), step);
            FN(put)(v, i, n, vi);
            step = s->nesterov ? vec_fma(momentum, vi, step) : vi;
        }
        FN(put)(w, i, n, vec_fma(rate, step, wi));
    }
}

void KERNEL(adam)(REAL *w, const REAL *g, REAL *m, REAL *v, ptrdiff_t n, const FN(cnn_adam) * a) {
    const vec b1 = vec_set1(a->beta1), b2 = vec_set1(a->beta2), decay = vec_set1(a->decay);
    const vec n1 = vec_set1(a->rest1), n2 = vec_set1(a->rest2), shrink = vec_set1(a->shrink);
    const vec rate = vec_set1(-a->rate), root = vec_set1(1 / a->root), eps = vec_set1(a->eps);
    for (ptrdiff_t i = 0; i < n; i += LANES) {
        const vec wi = FN(at)(w, i, n), gi = vec_fma(decay, wi, FN(at)(g, i, n));
        const vec mi = vec_fma(b1, FN(at)(m, i, n), n1 * gi);
        const vec vi = vec_fma(b2, FN(at)(v, i, n), n2 * gi * gi);
        FN(put)(m, i, n, mi);
        FN(put)(v, i, n, vi);
        FN(put)(w, i, n, vec_fma(rate, mi / vec_fma(vec_sqrt(vi), root, eps), shrink * wi));
    }
}
