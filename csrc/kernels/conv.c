/* Direct convolution in lane layout: the forward tile (also used, with other taps, for the input gradient) and the
 * weight-gradient tile. Equations: kernels.h. The accumulators of a tile stay in registers over the whole sum. */

static INLINE void FN(conv_body)(const FN(cnn_conv_tile) * t, const int kb, const int pb) {
    vec acc[CONV_KB][CONV_PB];
    UNROLL for (int k = 0; k < kb; k++) {
        const vec b = vec_set1(t->bias ? t->bias[k] : 0);
        UNROLL for (int i = 0; i < pb; i++) acc[k][i] = b;
    }
    const ptrdiff_t x_p = t->x_p;
    for (ptrdiff_t c = 0; c < t->channels; c++) {
        const REAL *x = t->x + c * t->x_c, *w = t->w + c * t->w_c;
        for (const FN(cnn_tap) *tap = t->tap, *end = tap + t->taps; tap < end; tap++) {
            vec wk[CONV_KB];
            UNROLL for (int k = 0; k < kb; k++) wk[k] = vec_set1(w[tap->w + k]);
            UNROLL for (int i = 0; i < pb; i++) {
                vec xi = vec_load(x + tap->x + i * x_p);
                vec_keep(xi);
                UNROLL for (int k = 0; k < kb; k++) acc[k][i] = vec_fma(wk[k], xi, acc[k][i]);
            }
        }
    }
    UNROLL for (int k = 0; k < kb; k++)
        UNROLL for (int i = 0; i < pb; i++) vec_store(t->y + k * t->y_k + i * t->y_p, acc[k][i]);
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
#define CONV_CASE(k, i) \
    case (k) * 8 + (i): if ((k) <= CONV_KB && (i) <= CONV_PB) FN(conv_body)(t, (k), (i)); break;
#define GRAD_CASE(k, j) \
    case (k) * 8 + (j): if ((k) <= GRAD_KB && (j) <= GRAD_TB) FN(grad_body)(t, (k), (j)); break;
#define EACH_COLUMN(CASE, k) CASE(k, 1) CASE(k, 2) CASE(k, 3) CASE(k, 4) CASE(k, 5) CASE(k, 6) CASE(k, 7)

void KERNEL(conv_tile)(const FN(cnn_conv_tile) * t, int kb, int pb) {
    switch (kb * 8 + pb) {
        EACH_COLUMN(CONV_CASE, 1)
        EACH_COLUMN(CONV_CASE, 2)
        EACH_COLUMN(CONV_CASE, 3)
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

#undef CONV_CASE
#undef GRAD_CASE
#undef EACH_COLUMN
