/* Direct convolution in lane layout: the tile of a sum over taps, and that of the weight gradient. Equations: kernels.h.
 * The accumulators of a tile stay in registers over the whole sum. */

static INLINE void FN(tap_body)(const FN(cnn_tap_tile) * t, const int mb, const int nb) {
    vec acc[GEMM_MB][GEMM_NB];
    UNROLL for (int i = 0; i < mb; i++) {
        const vec b = vec_set1(t->bias ? t->bias[i] : 0);
        UNROLL for (int j = 0; j < nb; j++) acc[i][j] = b;
    }
    const REAL *a = t->a, *x = t->x;
    const ptrdiff_t x_p = t->x_p;
    for (ptrdiff_t q = 0; q < t->channels; q++, x += t->x_c)
        for (const ptrdiff_t *tap = t->tap, *end = tap + t->taps; tap < end; tap++, a += GEMM_MB) {
            vec xj[GEMM_NB];
            UNROLL for (int j = 0; j < nb; j++) {
                xj[j] = vec_load(x + *tap + j * x_p);
                vec_keep(xj[j]);
            }
            UNROLL for (int i = 0; i < mb; i++) {
                const vec ai = vec_set1(a[i]);
                UNROLL for (int j = 0; j < nb; j++) acc[i][j] = vec_fma(ai, xj[j], acc[i][j]);
            }
        }
    UNROLL for (int i = 0; i < mb; i++)
        UNROLL for (int j = 0; j < nb; j++) vec_store(t->c + i * t->c_i + j * t->c_j, acc[i][j]);
}

static INLINE void FN(grad_body)(const FN(cnn_grad_tile) * t, const int kb, const int tb) {
    vec acc[GRAD_KB][GRAD_TB];
    const REAL *xt[GRAD_TB];
    UNROLL for (int k = 0; k < kb; k++)
        UNROLL for (int j = 0; j < tb; j++) acc[k][j] = (vec){0};
    UNROLL for (int j = 0; j < tb; j++) xt[j] = t->x + t->tap[j];
    for (ptrdiff_t r = 0; r < t->rows; r++) {
        const REAL *dy = t->dy + r * t->dy_r;
        ptrdiff_t at = r * t->x_r;
        for (ptrdiff_t i = 0; i < t->cols; i++, dy += LANES, at += t->x_p) {
            vec xj[GRAD_TB];
            UNROLL for (int j = 0; j < tb; j++) {
                xj[j] = vec_load(xt[j] + at);
                vec_keep(xj[j]);
            }
            UNROLL for (int k = 0; k < kb; k++) {
                vec d = vec_load(dy + k * t->dy_k);
                vec_keep(d);
                UNROLL for (int j = 0; j < tb; j++) acc[k][j] = vec_fma(d, xj[j], acc[k][j]);
            }
        }
    }
    /* Sums of lanes, LANES accumulators at a time, in the order of (k, j). */
    vec group[LANES];
    REAL sums[LANES];
    for (int first = 0; first < kb * tb; first += LANES) {
        const int n = (int)cnn_min(LANES, kb * tb - first);
        UNROLL for (int a = 0; a < LANES; a++) {
            const int flat = first + a;
            group[a] = flat < kb * tb ? acc[flat / tb][flat % tb] : (vec){0};
        }
        vec_store(sums, vec_sum_each(group));
        for (int a = 0; a < n; a++) t->dw[(first + a) / tb * t->dw_k + (first + a) % tb] += sums[a];
    }
}

/* Instances for every tile size: the body inlined with constant sizes, chosen by a switch that costs one jump. */
#define TAP_CASE(i, j) \
    case (i) * 8 + (j): if ((i) <= GEMM_MB && (j) <= GEMM_NB) FN(tap_body)(t, (i), (j)); break;
#define GRAD_CASE(k, j) \
    case (k) * 8 + (j): if ((k) <= GRAD_KB && (j) <= GRAD_TB) FN(grad_body)(t, (k), (j)); break;
#define EACH_COLUMN(CASE, k) CASE(k, 1) CASE(k, 2) CASE(k, 3) CASE(k, 4) CASE(k, 5) CASE(k, 6) CASE(k, 7)

void KERNEL(tap_tile)(const FN(cnn_tap_tile) * t, int mb, int nb) {
    switch (mb * 8 + nb) {
        EACH_COLUMN(TAP_CASE, 1)
        EACH_COLUMN(TAP_CASE, 2)
        EACH_COLUMN(TAP_CASE, 3)
        EACH_COLUMN(TAP_CASE, 4)
        EACH_COLUMN(TAP_CASE, 5)
    }
}

void KERNEL(grad_tile)(const FN(cnn_grad_tile) * t, int kb, int tb) {
    switch (kb * 8 + tb) {
        EACH_COLUMN(GRAD_CASE, 1)
        EACH_COLUMN(GRAD_CASE, 2)
        EACH_COLUMN(GRAD_CASE, 3)
        EACH_COLUMN(GRAD_CASE, 4)
        EACH_COLUMN(GRAD_CASE, 5)
    }
}

#undef TAP_CASE
#undef GRAD_CASE
#undef EACH_COLUMN
