/* Winograd's minimal filtering in one dimension, a vector for each number.
 *
 * n inputs d, transformed, times r transformed taps g, element by element, transformed back, are m = n + 1 - r outputs:
 * y = A' ((G g) * (B' d)). Behind it are values of polynomials at n - 1 points, the last of n values being the leading
 * coefficient ("infinity"). Points come in pairs ±p, and 0 for even n. In two dimensions, as used:
 *
 *   n = 6   0, ±11/16, ±23/16          3×3 → 4×4 (36 products instead of 144), 5×5 → 2×2 (36 instead of 100)
 *   n = 7   ±3/8, ±7/8, ±13/8          5×5 → 3×3 (49 instead of 225)
 *   n = 8   0, ±9/16, ±15/16, ±7/4     3×3 → 6×6 (64 instead of 324), 5×5 → 4×4 (64 instead of 400)
 *
 * With E(u) = the product over the other pairs q of (u - q²), and P(u) that over all pairs, applied to coefficients:
 *
 *   B' row ±p   E(d[z+1], d[z+3], ...) ± p E(d[z], d[z+2], ...)     z = 1 with the point 0, else 0
 *      row 0    P(d0, d2, ...), row infinity  P(d[z], d[z+2], ...)
 *   G  row ±p   g(±p) / (±p)^z (±2p) E(p²), row 0  g0 / P(0), row infinity  g[r-1]
 *   A' row i    0^i, then for each pair p^i, (-p)^i; infinity counts in the last row
 *
 * The filter's gradient is the same with its roles changed: r×r outputs of an m×m filter, the tile of dy. These points keep
 * rounding errors low, with n = 6 near those of a direct sum; 0, ±1, ±2 have four times as much.
 * Source: A. Lavin, S. Gray, "Fast Algorithms for Convolutional Neural Networks", 2015. */
#define MOST_TILE 8

static INLINE REAL FN(wino_point)(const int n, const int i) {
    static const REAL points[3][3] = {{0.6875, 1.4375, 0}, {0.375, 0.875, 1.625}, {0.5625, 0.9375, 1.75}};
    return points[n - 6][i];
}

#define PAIRS(n) (((n) - 1) / 2)
#define HAS_ZERO(n) ((n) % 2 == 0)

static INLINE REAL FN(wino_square)(const int n, const int i) { return FN(wino_point)(n, i) * FN(wino_point)(n, i); }

/* E of pair i, of u[0], u[step], ... */
static INLINE vec FN(wino_others)(const vec *u, const int step, const int n, const int i) {
    const REAL p = FN(wino_square)(n, i == 0), q = PAIRS(n) > 2 ? FN(wino_square)(n, i == 2 ? 1 : 2) : 0;
    if (PAIRS(n) == 2) return vec_fma(vec_set1(-p), u[0], u[step]);
    return vec_fma(vec_set1(p * q), u[0], vec_fma(vec_set1(-(p + q)), u[step], u[2 * step]));
}

/* P of u[0], u[step], ... */
static INLINE vec FN(wino_all)(const vec *u, const int step, const int n) {
    const REAL a = FN(wino_square)(n, 0), b = FN(wino_square)(n, 1), c = FN(wino_square)(n, 2);
    if (PAIRS(n) == 2) return vec_fma(vec_set1(a * b), u[0], vec_fma(vec_set1(-(a + b)), u[step], u[2 * step]));
    return vec_fma(vec_set1(-a * b * c), u[0],
                   vec_fma(vec_set1(a * b + a * c + b * c), u[step],
                           vec_fma(vec_set1(-(a + b + c)), u[2 * step], u[3 * step])));
}

/* o[0], o[o_step], ... = B' (i[0], i[step], ...), n of each */
static INLINE void FN(wino_b)(vec *o, const int o_step, const vec *i, const int step, const int n) {
    const int z = HAS_ZERO(n);
    if (z) o[0] = FN(wino_all)(i, 2 * step, n);
    UNROLL for (int k = 0; k < PAIRS(n); k++) {
        const vec even = FN(wino_others)(i + (z + 1) * step, 2 * step, n, k);
        const vec odd = vec_set1(FN(wino_point)(n, k)) * FN(wino_others)(i + z * step, 2 * step, n, k);
        o[(z + 2 * k) * o_step] = even + odd;
        o[(z + 2 * k + 1) * o_step] = even - odd;
    }
    o[(n - 1) * o_step] = FN(wino_all)(i + z * step, 2 * step, n);
}

/* o = G (i[0], ... i[(r-1) step]) for r taps, 2 <= r <= 6 */
static INLINE void FN(wino_g)(vec *o, const int o_step, const vec *i, const int step, const int r, const int n) {
    const int z = HAS_ZERO(n);
    REAL all = 1;
    UNROLL for (int k = 0; k < PAIRS(n); k++) {
        const REAL p = FN(wino_point)(n, k), p2 = p * p;
        REAL scale = z ? 2 * p2 : 2 * p;
        UNROLL for (int q = 0; q < PAIRS(n); q++) scale *= q == k ? 1 : p2 - FN(wino_square)(n, q);
        all *= -p2;
        vec even = i[(r - 1) / 2 * 2 * step], odd = i[(r / 2 * 2 - 1) * step];
        UNROLL for (int t = (r - 1) / 2 * 2 - 2; t >= 0; t -= 2) even = vec_fma(vec_set1(p2), even, i[t * step]);
        UNROLL for (int t = r / 2 * 2 - 3; t > 0; t -= 2) odd = vec_fma(vec_set1(p2), odd, i[t * step]);
        odd *= vec_set1(p);
        o[(z + 2 * k) * o_step] = vec_set1(1 / scale) * (even + odd);
        o[(z + 2 * k + 1) * o_step] = vec_set1((z ? 1 : -1) / scale) * (even - odd);
    }
    if (z) o[0] = vec_set1(1 / all) * i[0];
    o[(n - 1) * o_step] = i[(r - 1) * step];
}

/* o = A' (i[0], ... i[(n-1) step]) for m outputs, 2 <= m <= 6 */
static INLINE void FN(wino_a)(vec *o, const int o_step, const vec *i, const int step, const int m, const int n) {
    const int z = HAS_ZERO(n);
    vec sum[3], dif[3];
    REAL power[3] = {1, 1, 1};
    UNROLL for (int k = 0; k < PAIRS(n); k++) {
        sum[k] = i[(z + 2 * k) * step] + i[(z + 2 * k + 1) * step];
        dif[k] = i[(z + 2 * k) * step] - i[(z + 2 * k + 1) * step];
    }
    UNROLL for (int t = 0; t < m; t++) {
        vec y = t == m - 1 ? i[(n - 1) * step] : t == 0 && z ? i[0] : (vec){0};
        UNROLL for (int k = PAIRS(n) - 1; k >= 0; k--) {
            const vec term = t % 2 ? dif[k] : sum[k];
            y = t == 0 ? y + term : vec_fma(vec_set1(power[k]), term, y);
            power[k] *= FN(wino_point)(n, k);
        }
        o[t * o_step] = y;
    }
}
