/* Winograd's tiles in lane layout: an n×n tile of the input, transformed in both directions, times a transformed filter,
 * element by element, transformed back, is an m×m tile of the output, m = n + 1 - taps. Equations: kernels.h, winograd_1d.h. */

#include "winograd_1d.h"

static INLINE void FN(wino_weights_body)(REAL *u, ptrdiff_t u_f, const REAL *w, int flip, int lanes, const int taps,
                                         const int n) {
    vec half[MOST_TILE][5];
    for (int s = 0; s < taps; s++) {
        vec column[5];
        UNROLL for (int r = 0; r < taps; r++)
            column[r] = vec_load(w + (flip ? taps * taps - 1 - (r * taps + s) : r * taps + s) * LANES);
        FN(wino_g)(&half[0][s], 5, column, 1, taps, n);
    }
    for (int i = 0; i < n; i++) {
        vec full[MOST_TILE];
        FN(wino_g)(full, 1, half[i], 1, taps, n);
        UNROLL for (int j = 0; j < n; j++) vec_store_part(u + (i * n + j) * u_f, full[j], lanes);
    }
}

static INLINE void FN(wino_input_body)(REAL *v, ptrdiff_t v_f, ptrdiff_t v_t, const REAL *x, ptrdiff_t x_r, ptrdiff_t x_t,
                                       ptrdiff_t tiles, const int n) {
    for (ptrdiff_t t = 0; t < tiles; t++, v += v_t, x += x_t) {
        vec half[MOST_TILE][MOST_TILE];
        for (int j = 0; j < n; j++) {
            vec column[MOST_TILE];
            UNROLL for (int i = 0; i < n; i++) column[i] = vec_load(x + i * x_r + j * LANES);
            FN(wino_b)(&half[0][j], MOST_TILE, column, 1, n);
        }
        for (int i = 0; i < n; i++) {
            vec full[MOST_TILE];
            FN(wino_b)(full, 1, half[i], 1, n);
            UNROLL for (int j = 0; j < n; j++) vec_store(v + (i * n + j) * v_f, full[j]);
        }
    }
}

static INLINE void FN(wino_output_body)(REAL *y, ptrdiff_t y_r, const REAL *v, ptrdiff_t v_f, REAL bias, ptrdiff_t tiles,
                                        const int m, const int n) {
    for (ptrdiff_t t = 0; t < tiles; t++, v += LANES, y += m * LANES) {
        vec half[6][MOST_TILE];
        for (int j = 0; j < n; j++) {
            vec column[MOST_TILE];
            UNROLL for (int i = 0; i < n; i++) column[i] = vec_load(v + (i * n + j) * v_f);
            FN(wino_a)(&half[0][j], MOST_TILE, column, 1, m, n);
        }
        for (int i = 0; i < m; i++) {
            vec row[6];
            FN(wino_a)(row, 1, half[i], 1, m, n);
            UNROLL for (int j = 0; j < m; j++) vec_store(y + i * y_r + j * LANES, row[j] + vec_set1(bias));
        }
    }
}

static INLINE void FN(wino_factor_body)(REAL *v, ptrdiff_t v_f, ptrdiff_t v_t, const REAL *dy, ptrdiff_t y_r,
                                        ptrdiff_t y_t, ptrdiff_t tiles, const int m, const int n) {
    for (ptrdiff_t t = 0; t < tiles; t++, v += v_t, dy += y_t) {
        vec half[MOST_TILE][6];
        for (int j = 0; j < m; j++) {
            vec column[6];
            UNROLL for (int i = 0; i < m; i++) column[i] = vec_load(dy + i * y_r + j * LANES);
            FN(wino_g)(&half[0][j], 6, column, 1, m, n);
        }
        for (int i = 0; i < n; i++) {
            vec full[MOST_TILE];
            FN(wino_g)(full, 1, half[i], 1, m, n);
            UNROLL for (int j = 0; j < n; j++) vec_store(v + (i * n + j) * v_f, full[j]);
        }
    }
}

static INLINE void FN(wino_taps_body)(REAL *w, const REAL *v, ptrdiff_t v_f, ptrdiff_t parts, ptrdiff_t v_p,
                                      const int taps, const int n) {
    vec half[5][MOST_TILE];
    for (int j = 0; j < n; j++) {
        vec column[MOST_TILE];
        for (int i = 0; i < n; i++) {
            column[i] = vec_load(v + (i * n + j) * v_f);
            for (ptrdiff_t p = 1; p < parts; p++) column[i] += vec_load(v + (i * n + j) * v_f + p * v_p);
        }
        FN(wino_a)(&half[0][j], MOST_TILE, column, 1, taps, n);
    }
    for (int i = 0; i < taps; i++) {
        vec row[5];
        FN(wino_a)(row, 1, half[i], 1, taps, n);
        UNROLL for (int j = 0; j < taps; j++) vec_store(w + (i * taps + j) * LANES, row[j]);
    }
}

/* Instances for the tiles and taps that there are. */
#define EACH_TILE(CASE) CASE(6, 3) CASE(8, 3) CASE(6, 5) CASE(7, 5) CASE(8, 5)

void KERNEL(wino_weights)(REAL *u, ptrdiff_t u_f, const REAL *w, int flip, int lanes, int taps, int n) {
#define CASE(N, R) \
    if (n == (N) && taps == (R)) FN(wino_weights_body)(u, u_f, w, flip, lanes, (R), (N));
    EACH_TILE(CASE)
#undef CASE
}

void KERNEL(wino_input)(REAL *v, ptrdiff_t v_f, ptrdiff_t v_t, const REAL *x, ptrdiff_t x_r, ptrdiff_t x_t, ptrdiff_t tiles,
                        int n) {
    if (n == 6) FN(wino_input_body)(v, v_f, v_t, x, x_r, x_t, tiles, 6);
    else if (n == 7) FN(wino_input_body)(v, v_f, v_t, x, x_r, x_t, tiles, 7);
    else FN(wino_input_body)(v, v_f, v_t, x, x_r, x_t, tiles, 8);
}

void KERNEL(wino_output)(REAL *y, ptrdiff_t y_r, const REAL *v, ptrdiff_t v_f, REAL bias, ptrdiff_t tiles, int taps, int n) {
#define CASE(N, R) \
    if (n == (N) && taps == (R)) FN(wino_output_body)(y, y_r, v, v_f, bias, tiles, (N) + 1 - (R), (N));
    EACH_TILE(CASE)
#undef CASE
}

void KERNEL(wino_factor)(REAL *v, ptrdiff_t v_f, ptrdiff_t v_t, const REAL *dy, ptrdiff_t y_r, ptrdiff_t y_t,
                         ptrdiff_t tiles, int taps, int n) {
#define CASE(N, R) \
    if (n == (N) && taps == (R)) FN(wino_factor_body)(v, v_f, v_t, dy, y_r, y_t, tiles, (N) + 1 - (R), (N));
    EACH_TILE(CASE)
#undef CASE
}

void KERNEL(wino_taps)(REAL *w, const REAL *v, ptrdiff_t v_f, ptrdiff_t parts, ptrdiff_t v_p, int taps, int n) {
#define CASE(N, R) \
    if (n == (N) && taps == (R)) FN(wino_taps_body)(w, v, v_f, parts, v_p, (R), (N));
    EACH_TILE(CASE)
#undef CASE
}

#undef EACH_TILE
#undef PAIRS
#undef HAS_ZERO
