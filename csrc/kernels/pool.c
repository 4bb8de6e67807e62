/* Pooling of LANES planes in lane layout. Equations and conventions: kernels.h. */

/* The window's part inside the plane, for output index o of one axis: [*from, *to). */
static INLINE void FN(pool_window)(ptrdiff_t o, ptrdiff_t k, ptrdiff_t stride, ptrdiff_t pad, ptrdiff_t size,
                                   ptrdiff_t *from, ptrdiff_t *to) {
    const ptrdiff_t start = o * stride - pad;
    *from = cnn_max(start, 0);
    *to = cnn_min(start + k, size);
}

/* a beats b: greater, or NaN. */
static INLINE ivec FN(pool_beats)(vec a, vec b) { return (ivec)(a > b) | (ivec)(a != a); }

void KERNEL(max_pool)(REAL *y, const REAL *x, const FN(cnn_pool) * p) {
    ptrdiff_t r0, r1, c0, c1;
    for (ptrdiff_t o = 0; o < p->oh; o++) {
        FN(pool_window)(o, p->kh, p->sh, p->ph, p->h, &r0, &r1);
        for (ptrdiff_t q = 0; q < p->ow; q++, y += LANES) {
            FN(pool_window)(q, p->kw, p->sw, p->pw, p->w, &c0, &c1);
            vec best = vec_load(x + (r0 * p->w + c0) * LANES);
            for (ptrdiff_t r = r0; r < r1; r++)
                for (ptrdiff_t c = c0; c < c1; c++) {
                    const vec v = vec_load(x + (r * p->w + c) * LANES);
                    best = vec_select(FN(pool_beats)(v, best), v, best);
                }
            vec_store(y, best);
        }
    }
}

void KERNEL(max_pool_grad)(REAL *dx, const REAL *dy, const REAL *x, const FN(cnn_pool) * p) {
    ptrdiff_t r0, r1, c0, c1;
    memset(dx, 0, (size_t)(p->h * p->w * LANES) * sizeof(REAL));
    for (ptrdiff_t o = 0; o < p->oh; o++) {
        FN(pool_window)(o, p->kh, p->sh, p->ph, p->h, &r0, &r1);
        for (ptrdiff_t q = 0; q < p->ow; q++, dy += LANES) {
            FN(pool_window)(q, p->kw, p->sw, p->pw, p->w, &c0, &c1);
            /* `at` counts window positions: the lane's winner. */
            ivec winner = {0}, at = {0};
            const vec d = vec_load(dy);
            vec best = vec_load(x + (r0 * p->w + c0) * LANES);
            for (ptrdiff_t r = r0; r < r1; r++)
                for (ptrdiff_t c = c0; c < c1; c++, at += 1) {
                    const vec v = vec_load(x + (r * p->w + c) * LANES);
                    const ivec beats = FN(pool_beats)(v, best);
                    best = vec_select(beats, v, best);
                    winner = (winner & ~beats) | (at & beats);
                }
            at = (ivec){0};
            for (ptrdiff_t r = r0; r < r1; r++)
                for (ptrdiff_t c = c0; c < c1; c++, at += 1) {
                    REAL *to = dx + (r * p->w + c) * LANES;
                    vec_store(to, vec_load(to) + (vec)((ivec)d & (ivec)(winner == at)));
                }
        }
    }
}

static INLINE REAL FN(pool_area)(const FN(cnn_pool) * p, ptrdiff_t rows, ptrdiff_t cols) {
    return (REAL)(p->count_include_pad ? p->kh * p->kw : rows * cols);
}

void KERNEL(avg_pool)(REAL *y, const REAL *x, const FN(cnn_pool) * p) {
    ptrdiff_t r0, r1, c0, c1;
    for (ptrdiff_t o = 0; o < p->oh; o++) {
        FN(pool_window)(o, p->kh, p->sh, p->ph, p->h, &r0, &r1);
        for (ptrdiff_t q = 0; q < p->ow; q++, y += LANES) {
            FN(pool_window)(q, p->kw, p->sw, p->pw, p->w, &c0, &c1);
            vec sum = {0};
            for (ptrdiff_t r = r0; r < r1; r++)
                for (ptrdiff_t c = c0; c < c1; c++) sum += vec_load(x + (r * p->w + c) * LANES);
            vec_store(y, sum / vec_set1(FN(pool_area)(p, r1 - r0, c1 - c0)));
        }
    }
}

void KERNEL(avg_pool_grad)(REAL *dx, const REAL *dy, const FN(cnn_pool) * p) {
    ptrdiff_t r0, r1, c0, c1;
    memset(dx, 0, (size_t)(p->h * p->w * LANES) * sizeof(REAL));
    for (ptrdiff_t o = 0; o < p->oh; o++) {
        FN(pool_window)(o, p->kh, p->sh, p->ph, p->h, &r0, &r1);
        for (ptrdiff_t q = 0; q < p->ow; q++, dy += LANES) {
            FN(pool_window)(q, p->kw, p->sw, p->pw, p->w, &c0, &c1);
            const vec d = vec_load(dy) / vec_set1(FN(pool_area)(p, r1 - r0, c1 - c0));
            for (ptrdiff_t r = r0; r < r1; r++)
                for (ptrdiff_t c = c0; c < c1; c++) {
                    REAL *to = dx + (r * p->w + c) * LANES;
                    vec_store(to, vec_load(to) + d);
                }
        }
    }
}
