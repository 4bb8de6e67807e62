/* Element by element: activations and the optimizers' updates. Equations: kernels.h. */

/* Vector i of an array of n: the last one may be a part. */
static INLINE vec FN(at)(const REAL *p, ptrdiff_t i, ptrdiff_t n) {
    return i + LANES <= n ? vec_load(p + i) : vec_load_part(p + i, (int)(n - i));
}

static INLINE void FN(put)(REAL *p, ptrdiff_t i, ptrdiff_t n, vec v) {
    if (i + LANES <= n) vec_store(p + i, v);
    else vec_store_part(p + i, v, (int)(n - i));
}

void KERNEL(relu)(REAL *y, const REAL *x, ptrdiff_t n) {
    const vec zero = {0};
    for (ptrdiff_t i = 0; i < n; i += LANES) {
        const vec v = FN(at)(x, i, n);
        FN(put)(y, i, n, (vec)((ivec)v & ~(ivec)(v <= zero)));
    }
}

void KERNEL(relu_grad)(REAL *dx, const REAL *dy, const REAL *x, ptrdiff_t n) {
    const vec zero = {0};
    for (ptrdiff_t i = 0; i < n; i += LANES) {
        const vec d = FN(at)(dy, i, n);
        FN(put)(dx, i, n, (vec)((ivec)d & (ivec)(FN(at)(x, i, n) > zero)));
    }
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
