/* Convolution of single planes: lanes are neighbouring columns. Equations: kernels.h. */

/* What follows a sum on its way to y, of which the first n lanes exist. */
static INLINE void FN(depth_store)(REAL *y, vec sum, const FN(cnn_depth_end) * end, ptrdiff_t n) {
    const vec zero = {0};
    vec v = vec_fma(vec_set1(end->scale), sum, vec_set1(end->bias));
    if (end->accumulate) v += n < LANES ? vec_load_part(y, (int)n) : vec_load(y);
    if (end->relu) v = (vec)((ivec)v & ((ivec)(v > zero) | (ivec)(v != v)));
    if (n < LANES) vec_store_part(y, v, (int)n);
    else vec_store(y, v);
}

#define DEPTH_ROWS 4 /* of outputs at a time where they share rows of x: each row that is loaded serves all that read it */
#define DEPTH_TAPS 3

/* `rows` rows of outputs; a filter of 3 x 3 has its weights in w. */
static INLINE void FN(depth_three)(REAL *y, const REAL *x, const vec w[DEPTH_TAPS][DEPTH_TAPS], const FN(cnn_depth) * d,
                                   const FN(cnn_depth_end) * end, const int rows) {
    const ptrdiff_t x_r = d->x_r, y_j = d->y_j, cols = d->cols, t0 = d->tap[0], t1 = d->tap[1], t2 = d->tap[2];
    for (ptrdiff_t i = 0; i < cols; i += LANES) {
        vec acc[DEPTH_ROWS];
        UNROLL for (int j = 0; j < rows; j++) acc[j] = (vec){0};
        UNROLL for (int q = 0; q < rows + DEPTH_TAPS - 1; q++) {
            const REAL *from = x + q * x_r + i;
            vec line[DEPTH_TAPS] = {vec_load(from + t0), vec_load(from + t1), vec_load(from + t2)};
            UNROLL for (int s = 0; s < DEPTH_TAPS; s++) {
                vec_keep(line[s]);
                UNROLL for (int r = 0; r < DEPTH_TAPS; r++)
                    if (q - r >= 0 && q - r < rows) acc[q - r] = vec_fma(w[r][s], line[s], acc[q - r]);
            }
        }
        UNROLL for (int j = 0; j < rows; j++) FN(depth_store)(y + j * y_j + i, acc[j], end, cols - i);
    }
}

/* The same with any filter: the rows that the outputs read through one tap wander through `line`. */
static INLINE void FN(depth_any)(REAL *y, const REAL *x, const REAL *w, const FN(cnn_depth) * d,
                                 const FN(cnn_depth_end) * end, const int rows) {
    const ptrdiff_t x_r = d->x_r, y_j = d->y_j, cols = d->cols, w_r = d->s * end->w_t;
    for (ptrdiff_t i = 0; i < cols; i += LANES) {
        vec acc[DEPTH_ROWS], line[DEPTH_ROWS];
        UNROLL for (int j = 0; j < rows; j++) acc[j] = (vec){0};
        for (ptrdiff_t s = 0; s < d->s; s++) {
            const REAL *from = x + d->tap[s] + i, *weight = w + s * end->w_t;
            UNROLL for (int j = 0; j < rows - 1; j++) line[j] = vec_load(from + j * x_r);
            from += (rows - 1) * x_r;
            for (ptrdiff_t r = 0; r < d->r; r++, from += x_r, weight += w_r) {
                const vec a = vec_set1(*weight);
                line[rows - 1] = vec_load(from);
                vec_keep(line[rows - 1]);
                UNROLL for (int j = 0; j < rows; j++) acc[j] = vec_fma(a, line[j], acc[j]);
                UNROLL for (int j = 0; j < rows - 1; j++) line[j] = line[j + 1];
            }
        }
        UNROLL for (int j = 0; j < rows; j++) FN(depth_store)(y + j * y_j + i, acc[j], end, cols - i);
    }
}

#define SUM_CASE(n) \
    case n: if (three) FN(depth_three)(y, x, weights, d, end, n); else FN(depth_any)(y, x, w, d, end, n); break;

void KERNEL(depth_sum)(REAL *y, const REAL *x, const REAL *w, const FN(cnn_depth) * d, const FN(cnn_depth_end) * end) {
    const int three = d->r == DEPTH_TAPS && d->s == DEPTH_TAPS;
    const ptrdiff_t most = d->x_j == d->x_r ? DEPTH_ROWS : 1;
    vec weights[DEPTH_TAPS][DEPTH_TAPS];
    for (int t = 0; three && t < DEPTH_TAPS * DEPTH_TAPS; t++)
        weights[t / DEPTH_TAPS][t % DEPTH_TAPS] = vec_set1(w[t * end->w_t]);
    for (ptrdiff_t j = 0, n; j < d->rows; j += n, y += n * d->y_j, x += n * d->x_j) {
        n = cnn_min(most, d->rows - j);
        switch (n) { SUM_CASE(1) SUM_CASE(2) SUM_CASE(3) SUM_CASE(4) }
    }
}

/* `rows` rows of dy into the sums of rb x sb taps. */
static INLINE void FN(depth_grad_rows)(vec acc[DEPTH_TAPS][DEPTH_TAPS], const REAL *dy, const REAL *x,
                                       const FN(cnn_depth) * d, const ptrdiff_t *tap, const int rb, const int sb,
                                       const int rows) {
    const ptrdiff_t x_r = d->x_r, y_j = d->y_j, cols = d->cols;
    for (ptrdiff_t i = 0; i < cols; i += LANES) {
        vec g[DEPTH_ROWS];
        UNROLL for (int j = 0; j < rows; j++) {
            const REAL *from = dy + j * y_j + i;
            g[j] = cols - i < LANES ? vec_load_part(from, (int)(cols - i)) : vec_load(from);
            vec_keep(g[j]);
        }
        UNROLL for (int q = 0; q < rows + rb - 1; q++)
            UNROLL for (int s = 0; s < sb; s++) {
                vec line = vec_load(x + q * x_r + tap[s] + i);
                vec_keep(line);
                UNROLL for (int r = 0; r < rb; r++)
                    if (q - r >= 0 && q - r < rows) acc[r][s] = vec_fma(g[q - r], line, acc[r][s]);
            }
    }
}

static INLINE void FN(depth_grad_body)(REAL *dw, const REAL *dy, const REAL *x, const FN(cnn_depth) * d,
                                       const ptrdiff_t *tap, const int rb, const int sb) {
    const ptrdiff_t taps[DEPTH_TAPS] = {tap[0], tap[sb > 1], tap[sb - 1]};
    vec acc[DEPTH_TAPS][DEPTH_TAPS];
    UNROLL for (int r = 0; r < rb; r++)
        UNROLL for (int s = 0; s < sb; s++) acc[r][s] = (vec){0};
    const ptrdiff_t most = d->x_j == d->x_r ? DEPTH_ROWS : 1;
    for (ptrdiff_t j = 0, n; j < d->rows; j += n, dy += n * d->y_j, x += n * d->x_j) {
        n = cnn_min(most, d->rows - j);
        switch (n) {
            case 1: FN(depth_grad_rows)(acc, dy, x, d, taps, rb, sb, 1); break;
            case 2: FN(depth_grad_rows)(acc, dy, x, d, taps, rb, sb, 2); break;
            case 3: FN(depth_grad_rows)(acc, dy, x, d, taps, rb, sb, 3); break;
            case 4: FN(depth_grad_rows)(acc, dy, x, d, taps, rb, sb, 4); break;
        }
    }
    UNROLL for (int r = 0; r < rb; r++)
        UNROLL for (int s = 0; s < sb; s++) {
            REAL *to = dw + (r * d->s + s) * LANES;
            vec_store(to, vec_load(to) + acc[r][s]);
        }
}

#define GRAD_CASE(rb, sb) \
    case (rb) * 4 + (sb): FN(depth_grad_body)(dw + (r * d->s + s) * LANES, dy, x + r * d->x_r, d, d->tap + s, rb, sb); break;

void KERNEL(depth_grad)(REAL *dw, const REAL *dy, const REAL *x, const FN(cnn_depth) * d) {
    for (ptrdiff_t r = 0; r < d->r; r += DEPTH_TAPS)
        for (ptrdiff_t s = 0; s < d->s; s += DEPTH_TAPS)
            switch (cnn_min(DEPTH_TAPS, d->r - r) * 4 + cnn_min(DEPTH_TAPS, d->s - s)) {
                GRAD_CASE(1, 1) GRAD_CASE(1, 2) GRAD_CASE(1, 3)
                GRAD_CASE(2, 1) GRAD_CASE(2, 2) GRAD_CASE(2, 3)
                GRAD_CASE(3, 1) GRAD_CASE(3, 2) GRAD_CASE(3, 3)
            }
}

#undef GRAD_CASE
#undef SUM_CASE
#undef DEPTH_ROWS
#undef DEPTH_TAPS
