/* Winograd's minimal filtering in lane layout, on the points 0, ±3/4, ±3/2 and infinity.
 *
 * A 6×6 tile of the input, transformed, times a transformed filter, element by element, transformed back, is an m×m tile
 * of the output: m = 4 for 3×3 filters (36 products instead of 144), m = 2 for 5×5 (36 instead of 100). In one dimension
 * y = A' ((G g) * (B' d)), where B' is the same for both filter sizes:
 *
 *       | a²b²   0     -a²-b²  0      1  0 |          | 1/a²b²               |  g read as a polynomial
 *       | 0     -ab²   -b²     a      1  0 |          | 1/(2a²(a²-b²)) g(a)  |  g(p) = g0 + g1 p + g2 p² + ...
 *   B' =| 0      ab²   -b²    -a      1  0 |   G g =  | 1/(2a²(a²-b²)) g(-a) |
 *       | 0     -a²b   -a²     b      1  0 |          | 1/(2b²(b²-a²)) g(b)  |  A' row i: 1 a^i (-a)^i b^i (-b)^i,
 *       | 0      a²b   -a²    -b      1  0 |          | 1/(2b²(b²-a²)) g(-b) |  and infinity counts in the last row
 *       | 0      a²b²   0     -a²-b²  0  1 |          | last coefficient     |
 *
 * The filter's gradient is the same with its roles changed: taps outputs of an m-tap filter, the tile of dy (F(r, m)).
 *
 * These points keep the error near that of a direct sum; 0, ±1, ±2 have four times as much. */
#define WINO_A ((REAL)0.75)
#define WINO_B ((REAL)1.5)
#define WINO_A2 (WINO_A * WINO_A)
#define WINO_B2 (WINO_B * WINO_B)

/* o[0], o[step], ... o[5 step] = B' (i[0], i[step], ... i[5 step]) */
static INLINE void FN(wino_b)(vec *o, const vec *i, const int step) {
    const vec a = vec_set1(WINO_A), b = vec_set1(WINO_B), a2 = vec_set1(-WINO_A2), b2 = vec_set1(-WINO_B2);
    const vec sum = vec_set1(-(WINO_A2 + WINO_B2)), product = vec_set1(WINO_A2 * WINO_B2);
    const vec d0 = i[0], d1 = i[step], d2 = i[2 * step], d3 = i[3 * step], d4 = i[4 * step], d5 = i[5 * step];
    const vec even_a = vec_fma(b2, d2, d4), odd_a = a * vec_fma(b2, d1, d3);
    const vec even_b = vec_fma(a2, d2, d4), odd_b = b * vec_fma(a2, d1, d3);
    o[0] = vec_fma(product, d0, vec_fma(sum, d2, d4));
    o[step] = even_a + odd_a;
    o[2 * step] = even_a - odd_a;
    o[3 * step] = even_b + odd_b;
    o[4 * step] = even_b - odd_b;
    o[5 * step] = vec_fma(product, d1, vec_fma(sum, d3, d5));
}

/* o = G (i[0], ... i[(r-1) step]) for r taps, 2 <= r <= 5 */
static INLINE void FN(wino_g)(vec *o, const int o_step, const vec *i, const int step, const int r) {
    const REAL na = 1 / (2 * WINO_A2 * (WINO_A2 - WINO_B2)), nb = 1 / (2 * WINO_B2 * (WINO_B2 - WINO_A2));
    const vec a = vec_set1(WINO_A), b = vec_set1(WINO_B), a2 = vec_set1(WINO_A2), b2 = vec_set1(WINO_B2);
    const vec g2 = r > 2 ? i[2 * step] : (vec){0}, g3 = r > 3 ? i[3 * step] : (vec){0}, g4 = r > 4 ? i[4 * step] : (vec){0};
    const vec even_a = vec_fma(a2, vec_fma(a2, g4, g2), i[0]), odd_a = a * vec_fma(a2, g3, i[step]);
    const vec even_b = vec_fma(b2, vec_fma(b2, g4, g2), i[0]), odd_b = b * vec_fma(b2, g3, i[step]);
    o[0] = vec_set1(1 / (WINO_A2 * WINO_B2)) * i[0];
    o[o_step] = vec_set1(na) * (even_a + odd_a);
    o[2 * o_step] = vec_set1(na) * (even_a - odd_a);
    o[3 * o_step] = vec_set1(nb) * (even_b + odd_b);
    o[4 * o_step] = vec_set1(nb) * (even_b - odd_b);
    o[5 * o_step] = i[(r - 1) * step];
}

/* o = A' (i[0], ... i[5 step]) for m outputs, 2 <= m <= 5 */
static INLINE void FN(wino_a)(vec *o, const int o_step, const vec *i, const int step, const int m) {
    const vec a = vec_set1(WINO_A), b = vec_set1(WINO_B), a2 = vec_set1(WINO_A2), b2 = vec_set1(WINO_B2);
    const vec sum_a = i[step] + i[2 * step], sum_b = i[3 * step] + i[4 * step];
    const vec dif_a = a * (i[step] - i[2 * step]), dif_b = b * (i[3 * step] - i[4 * step]);
    o[0] = i[0] + (sum_a + sum_b);
    o[o_step] = m == 2 ? dif_a + (dif_b + i[5 * step]) : dif_a + dif_b;
    if (m > 2) o[2 * o_step] = vec_fma(a2, sum_a, m == 3 ? vec_fma(b2, sum_b, i[5 * step]) : b2 * sum_b);
    if (m > 3) o[3 * o_step] = vec_fma(a2, dif_a, m == 4 ? vec_fma(b2, dif_b, i[5 * step]) : b2 * dif_b);
    if (m > 4) o[4 * o_step] = vec_fma(a2 * a2, sum_a, vec_fma(b2 * b2, sum_b, i[5 * step]));
}

void KERNEL(wino_weights)(REAL *u, ptrdiff_t u_f, const REAL *w, int taps, int flip, int lanes) {
    vec g[5][5], half[6][5], full[6];
    for (int r = 0; r < taps; r++)
        for (int s = 0; s < taps; s++)
            g[r][s] = vec_load(w + (flip ? taps * taps - 1 - (r * taps + s) : r * taps + s) * LANES);
    for (int s = 0; s < taps; s++) {
        if (taps == 3) FN(wino_g)(&half[0][s], 5, &g[0][s], 5, 3);
        else FN(wino_g)(&half[0][s], 5, &g[0][s], 5, 5);
    }
    for (int i = 0; i < 6; i++) {
        if (taps == 3) FN(wino_g)(full, 1, half[i], 1, 3);
        else FN(wino_g)(full, 1, half[i], 1, 5);
        for (int j = 0; j < 6; j++) vec_store_part(u + (i * 6 + j) * u_f, full[j], lanes);
    }
}

void KERNEL(wino_input)(REAL *v, ptrdiff_t v_f, ptrdiff_t v_t, const REAL *x, ptrdiff_t x_r, ptrdiff_t x_t,
                        ptrdiff_t tiles) {
    for (ptrdiff_t t = 0; t < tiles; t++, v += v_t, x += x_t) {
        vec d[6][6], half[6][6];
        UNROLL for (int j = 0; j < 6; j++) {
            UNROLL for (int i = 0; i < 6; i++) d[i][j] = vec_load(x + i * x_r + j * LANES);
            FN(wino_b)(&half[0][j], &d[0][j], 6);
        }
        UNROLL for (int i = 0; i < 6; i++) {
            vec full[6];
            FN(wino_b)(full, half[i], 1);
            UNROLL for (int j = 0; j < 6; j++) vec_store(v + (i * 6 + j) * v_f, full[j]);
        }
    }
}

static INLINE void FN(wino_output_body)(REAL *y, ptrdiff_t y_r, const REAL *m, ptrdiff_t m_f, REAL bias,
                                        ptrdiff_t tiles, const int size) {
    for (ptrdiff_t t = 0; t < tiles; t++, m += LANES, y += size * LANES) {
        vec half[4][6];
        UNROLL for (int j = 0; j < 6; j++) {
            vec column[6];
            UNROLL for (int i = 0; i < 6; i++) column[i] = vec_load(m + (i * 6 + j) * m_f);
            FN(wino_a)(&half[0][j], 6, column, 1, size);
        }
        UNROLL for (int i = 0; i < size; i++) {
            vec row[4];
            FN(wino_a)(row, 1, half[i], 1, size);
            UNROLL for (int j = 0; j < size; j++) vec_store(y + i * y_r + j * LANES, row[j] + vec_set1(bias));
        }
    }
}

void KERNEL(wino_output)(REAL *y, ptrdiff_t y_r, const REAL *m, ptrdiff_t m_f, REAL bias, ptrdiff_t tiles, int size) {
    if (size == 4) FN(wino_output_body)(y, y_r, m, m_f, bias, tiles, 4);
    else FN(wino_output_body)(y, y_r, m, m_f, bias, tiles, 2);
}

static INLINE void FN(wino_factor_body)(REAL *v, ptrdiff_t v_f, ptrdiff_t v_t, const REAL *dy, ptrdiff_t y_r,
                                        ptrdiff_t y_t, ptrdiff_t tiles, const int size) {
    for (ptrdiff_t t = 0; t < tiles; t++, v += v_t, dy += y_t) {
        vec half[6][4];
        UNROLL for (int j = 0; j < size; j++) {
            vec column[4];
            UNROLL for (int i = 0; i < size; i++) column[i] = vec_load(dy + i * y_r + j * LANES);
            FN(wino_g)(&half[0][j], 4, column, 1, size);
        }
        UNROLL for (int i = 0; i < 6; i++) {
            vec full[6];
            FN(wino_g)(full, 1, half[i], 1, size);
            UNROLL for (int j = 0; j < 6; j++) vec_store(v + (i * 6 + j) * v_f, full[j]);
        }
    }
}

void KERNEL(wino_factor)(REAL *v, ptrdiff_t v_f, ptrdiff_t v_t, const REAL *dy, ptrdiff_t y_r, ptrdiff_t y_t,
                         ptrdiff_t tiles, int size) {
    if (size == 4) FN(wino_factor_body)(v, v_f, v_t, dy, y_r, y_t, tiles, 4);
    else FN(wino_factor_body)(v, v_f, v_t, dy, y_r, y_t, tiles, 2);
}

static INLINE void FN(wino_taps_body)(REAL *w, const REAL *m, ptrdiff_t m_f, ptrdiff_t parts, ptrdiff_t m_p,
                                      const int taps) {
    vec half[5][6];
    for (int j = 0; j < 6; j++) {
        vec column[6], outputs[5];
        UNROLL for (int i = 0; i < 6; i++) {
            column[i] = vec_load(m + (i * 6 + j) * m_f);
            for (ptrdiff_t p = 1; p < parts; p++) column[i] += vec_load(m + (i * 6 + j) * m_f + p * m_p);
        }
        FN(wino_a)(outputs, 1, column, 1, taps);
        UNROLL for (int i = 0; i < taps; i++) half[i][j] = outputs[i];
    }
    UNROLL for (int i = 0; i < taps; i++) {
        vec row[5];
        FN(wino_a)(row, 1, half[i], 1, taps);
        UNROLL for (int j = 0; j < taps; j++) vec_store(w + (i * taps + j) * LANES, row[j]);
    }
}

void KERNEL(wino_taps)(REAL *w, const REAL *m, ptrdiff_t m_f, ptrdiff_t parts, ptrdiff_t m_p, int taps) {
    if (taps == 3) FN(wino_taps_body)(w, m, m_f, parts, m_p, 3);
    else FN(wino_taps_body)(w, m, m_f, parts, m_p, 5);
}

#undef WINO_A
#undef WINO_B
#undef WINO_A2
#undef WINO_B2
