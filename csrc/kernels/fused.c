/* What a convolution does on its outputs' way out, and their gradients' way in; and its inputs in panels. Equations:
 * kernels.h. A window's winner is its first maximum, row by row, or its last NaN, as in pool.c. */

static INLINE void FN(pool2_step)(vec *best, ivec *winner, vec v, int at) {
    const ivec beats = (ivec)(v > *best) | (ivec)(v != v);
    *best = vec_select(beats, v, *best);
    *winner = (*winner & ~beats) | (((ivec){0} + at) & beats);
}

void KERNEL(pool2)(REAL *y, uint8_t *winner, const REAL *x, ptrdiff_t pitch, ptrdiff_t count, int relu) {
    const REAL *below = x + pitch * LANES;
    for (ptrdiff_t q = 0; q < count; q++, x += 2 * LANES, below += 2 * LANES) {
        ivec at = {0};
        vec best = vec_load(x);
        FN(pool2_step)(&best, &at, vec_load(x + LANES), 1);
        FN(pool2_step)(&best, &at, vec_load(below), 2);
        FN(pool2_step)(&best, &at, vec_load(below + LANES), 3);
        if (relu) {
            const vec zero = {0};
            const ivec open = (ivec)(best > zero), nan = (ivec)(best != best);
            best = (vec)((ivec)best & (open | nan));
            at = (at & open) | (ivec_set1(255) & ~open);
        }
        vec_store(y + q * LANES, best);
        if (winner) ivec_store_bytes(winner + q * LANES, at);
    }
}

void KERNEL(pool_row)(REAL *y, const REAL *a, const REAL *b, ptrdiff_t count, int relu) {
    for (ptrdiff_t q = 0; q < count; q += LANES, a += 2 * LANES, b += 2 * LANES) {
        const vec a0 = vec_load(a), a1 = vec_load(a + LANES), b0 = vec_load(b), b1 = vec_load(b + LANES);
        ivec at = {0};
        vec best = vec_even(a0, a1);
        FN(pool2_step)(&best, &at, vec_odd(a0, a1), 1);
        FN(pool2_step)(&best, &at, vec_even(b0, b1), 2);
        FN(pool2_step)(&best, &at, vec_odd(b0, b1), 3);
        vec_store(y + q, relu ? FN(positive)(best) : best);
    }
}

void KERNEL(pool2_grad)(REAL *dx, ptrdiff_t pitch, const REAL *dy, const uint8_t *winner, ptrdiff_t count) {
    REAL *below = dx + pitch * LANES;
    for (ptrdiff_t q = 0; q < count; q++, dx += 2 * LANES, below += 2 * LANES) {
        const ivec d = (ivec)vec_load(dy + q * LANES), at = ivec_load_bytes(winner + q * LANES);
        vec_store(dx, (vec)(d & (ivec)(at == 0)));
        vec_store(dx + LANES, (vec)(d & (ivec)(at == 1)));
        vec_store(below, (vec)(d & (ivec)(at == 2)));
        vec_store(below + LANES, (vec)(d & (ivec)(at == 3)));
    }
}

static INLINE void FN(panel_body)(REAL *panel, const REAL *x, const ptrdiff_t *tap, ptrdiff_t taps, ptrdiff_t channels,
                                  ptrdiff_t x_c, ptrdiff_t x_p, const int count) {
    for (ptrdiff_t c = 0; c < channels; c++, x += x_c)
        for (ptrdiff_t t = 0; t < taps; t++, panel += count * LANES)
            UNROLL for (int i = 0; i < count; i++) vec_store(panel + i * LANES, vec_load(x + tap[t] + i * x_p));
}

void KERNEL(panel)(REAL *panel, const REAL *x, const ptrdiff_t *tap, ptrdiff_t taps, ptrdiff_t channels, ptrdiff_t x_c,
                   ptrdiff_t x_p, int count) {
    switch (count) {
        case 1: FN(panel_body)(panel, x, tap, taps, channels, x_c, x_p, 1); break;
        case 2: FN(panel_body)(panel, x, tap, taps, channels, x_c, x_p, 2); break;
        case 3: FN(panel_body)(panel, x, tap, taps, channels, x_c, x_p, 3); break;
        case 4: FN(panel_body)(panel, x, tap, taps, channels, x_c, x_p, 4); break;
    }
}

void KERNEL(panel_differences)(REAL *panel, const REAL *x, const FN(cnn_difference) * term, ptrdiff_t terms,
                               ptrdiff_t channels, ptrdiff_t x_c, ptrdiff_t x_p, int count, REAL sign) {
    const vec s = vec_set1(sign);
    for (ptrdiff_t c = 0; c < channels; c++, x += x_c)
        for (ptrdiff_t t = 0; t < terms; t++) {
            const ptrdiff_t row = term[t].row, col = term[t].col;
            const REAL *from = x + term[t].at;
            for (int i = 0; i < count; i++, from += x_p, panel += LANES) {
                vec v = vec_load(from);
                if (row) v = vec_fma(s, vec_load(from + row), v);
                if (col) {
                    vec next = vec_load(from + col);
                    if (row) next = vec_fma(s, vec_load(from + row + col), next);
                    v = vec_fma(s, next, v);
                }
                vec_store(panel, v);
            }
        }
}

void KERNEL(strided_output)(REAL *y, ptrdiff_t y_r, ptrdiff_t y_q, const REAL *sums, ptrdiff_t sums_s, int high, int wide,
                            ptrdiff_t count) {
    for (ptrdiff_t i = 0; i < count; i++, y += 2 * y_q, sums += LANES) {
        vec pair[3][2];
        UNROLL for (int r = 0; r < 3; r++) {
            const REAL *at = sums + wide * cnn_min(r, high - 1) * sums_s;
            pair[r][0] = vec_load(at);
            pair[r][1] = vec_load(at + (wide - 1) * sums_s);
            if (wide > 2) UNROLL for (int q = 0; q < 2; q++) pair[r][q] += vec_load(at + sums_s);
        }
        UNROLL for (int r = 0; r < 2; r++)
            UNROLL for (int q = 0; q < 2; q++)
                vec_store(y + r * y_r + q * y_q, high > 2 ? pair[r][q] + pair[r + 1][q] : pair[r][q]);
    }
}
