/* The optimizers' updates, element by element in place. Equations: kernels.h. */

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

void KERNEL(rmsprop)(REAL *w, const REAL *g, REAL *v, REAL *m, REAL *b, ptrdiff_t n, const FN(cnn_rmsprop) * r) {
    const vec alpha = vec_set1(r->alpha), rest = vec_set1(r->rest), momentum = vec_set1(r->momentum);
    const vec rate = vec_set1(-r->lr), decay = vec_set1(r->decay), eps = vec_set1(r->eps);
    for (ptrdiff_t i = 0; i < n; i += LANES) {
        const vec wi = FN(at)(w, i, n), gi = vec_fma(decay, wi, FN(at)(g, i, n));
        vec spread = vec_fma(alpha, FN(at)(v, i, n), rest * gi * gi);
        FN(put)(v, i, n, spread);
        if (m) {
            const vec mi = vec_fma(alpha, FN(at)(m, i, n), rest * gi);
            FN(put)(m, i, n, mi);
            spread = FN(positive)(vec_fma(-mi, mi, spread));
        }
        vec step = gi / (vec_sqrt(spread) + eps);
        if (b) {
            step = vec_fma(momentum, FN(at)(b, i, n), step);
            FN(put)(b, i, n, step);
        }
        FN(put)(w, i, n, vec_fma(rate, step, wi));
    }
}

void KERNEL(adagrad)(REAL *w, const REAL *g, REAL *sum, ptrdiff_t n, const FN(cnn_adagrad) * a) {
    const vec rate = vec_set1(-a->rate), decay = vec_set1(a->decay), eps = vec_set1(a->eps);
    for (ptrdiff_t i = 0; i < n; i += LANES) {
        const vec wi = FN(at)(w, i, n), gi = vec_fma(decay, wi, FN(at)(g, i, n));
        const vec total = vec_fma(gi, gi, FN(at)(sum, i, n));
        FN(put)(sum, i, n, total);
        FN(put)(w, i, n, vec_fma(rate, gi / (vec_sqrt(total) + eps), wi));
    }
}

void KERNEL(lion)(REAL *w, const REAL *g, REAL *m, ptrdiff_t n, const FN(cnn_lion) * s) {
    const vec b1 = vec_set1(s->beta1), b2 = vec_set1(s->beta2), n1 = vec_set1(s->rest1), n2 = vec_set1(s->rest2);
    const vec rate = vec_set1(-s->lr), shrink = vec_set1(s->shrink), zero = {0}, one = vec_set1(1);
    for (ptrdiff_t i = 0; i < n; i += LANES) {
        const vec gi = FN(at)(g, i, n), mi = FN(at)(m, i, n), mean = vec_fma(b1, mi, n1 * gi);
        const vec sign = vec_select((ivec)(mean > zero), one, vec_select((ivec)(mean < zero), -one, mean)); /* NaN: NaN */
        FN(put)(m, i, n, vec_fma(b2, mi, n2 * gi));
        FN(put)(w, i, n, vec_fma(rate, sign, shrink * FN(at)(w, i, n)));
    }
}
