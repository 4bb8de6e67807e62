/* Pooling in lane layout: blocks of windows that share their taps. Equations and conventions: kernels.h. */

/* Taps and positions of a block, in registers or nearby where their number is a constant. */
#define CONSTANT_TAPS 9
typedef struct {
    ptrdiff_t tap[CONSTANT_TAPS];
    ivec position[CONSTANT_TAPS];
} FN(block_taps);

static INLINE FN(block_taps) FN(taps_of)(const FN(cnn_windows) * p, ptrdiff_t taps) {
    FN(block_taps) b;
    UNROLL for (int t = 0; t < CONSTANT_TAPS; t++)
        if (t < taps) {
            b.tap[t] = p->tap[t];
            b.position[t] = ivec_set1(p->position[t]);
        }
    return b;
}

#define EACH_WINDOW                                          \
    const FN(cnn_windows) w = *p;                            \
    const ptrdiff_t n = taps ? taps : w.taps;                \
    const FN(block_taps) b = FN(taps_of)(p, taps);           \
    for (ptrdiff_t r = 0; r < w.rows; r++)                   \
        for (ptrdiff_t c = 0; c < w.cols; c++)
#define TAP(t) (taps ? b.tap[t] : w.tap[t])
#define POSITION(t) (taps ? b.position[t] : ivec_set1(w.position[t]))

/* y, at and winner: those that are not NULL are written. `taps`: their number if constant, else 0. */
static INLINE void FN(max_body)(REAL *y, uint8_t *at, REAL_INT *winner, const REAL *x, const FN(cnn_windows) * p,
                                const int taps) {
    EACH_WINDOW {
        const REAL *from = x + r * w.x_r + c * w.x_p;
        const ptrdiff_t to = r * w.y_r + c * w.y_p;
        vec best = vec_load(from + TAP(0));
        ivec place = POSITION(0);
        for (ptrdiff_t t = 1; t < n; t++) {
            const vec v = vec_load(from + TAP(t));
            const ivec beats = (ivec)(v > best) | (ivec)(v != v);
            best = vec_select(beats, v, best);
            place = (ivec)vec_select(beats, (vec)POSITION(t), (vec)place);
        }
        if (y) vec_store(y + to, best);
        if (at) ivec_store_bytes(at + to, place);
        if (winner) ivec_store(winner + to, place);
    }
}

void KERNEL(max_windows)(REAL *y, uint8_t *at, const REAL *x, const FN(cnn_windows) * p) {
    if (p->taps == 4 && at) FN(max_body)(y, at, NULL, x, p, 4);
    else if (p->taps == 4) FN(max_body)(y, NULL, NULL, x, p, 4);
    else if (p->taps == 9 && at) FN(max_body)(y, at, NULL, x, p, 9);
    else if (p->taps == 9) FN(max_body)(y, NULL, NULL, x, p, 9);
    else if (at) FN(max_body)(y, at, NULL, x, p, 0);
    else FN(max_body)(y, NULL, NULL, x, p, 0);
}

void KERNEL(max_winners)(REAL_INT *winner, const REAL *x, const FN(cnn_windows) * p) {
    if (p->taps == 4) FN(max_body)(NULL, NULL, winner, x, p, 4);
    else if (p->taps == 9) FN(max_body)(NULL, NULL, winner, x, p, 9);
    else FN(max_body)(NULL, NULL, winner, x, p, 0);
}

/* Winners are bytes at `at`, or else integers at `winner`. */
static INLINE void FN(max_grad_body)(REAL *dx, const REAL *dy, const uint8_t *at, const REAL_INT *winner,
                                     const FN(cnn_windows) * p, const int taps) {
    EACH_WINDOW {
        const ptrdiff_t from = r * w.x_r + c * w.x_p;
        vec sum = {0};
        for (ptrdiff_t t = 0; t < n; t++) {
            const ptrdiff_t i = from + TAP(t);
            const ivec place = at ? ivec_load_bytes(at + i) : ivec_load(winner + i);
            const vec d = (vec)((ivec)vec_load(dy + i) & (ivec)(place == POSITION(t)));
            sum = t ? sum + d : d;
        }
        vec_store(dx + r * w.y_r + c * w.y_p, sum);
    }
}

void KERNEL(max_windows_grad)(REAL *dx, const REAL *dy, const uint8_t *at, const REAL_INT *winner,
                              const FN(cnn_windows) * p) {
    if (!at) FN(max_grad_body)(dx, dy, NULL, winner, p, 0);
    else if (p->taps == 1) FN(max_grad_body)(dx, dy, at, NULL, p, 1);
    else if (p->taps == 2) FN(max_grad_body)(dx, dy, at, NULL, p, 2);
    else if (p->taps == 4) FN(max_grad_body)(dx, dy, at, NULL, p, 4);
    else FN(max_grad_body)(dx, dy, at, NULL, p, 0);
}

/* Windows that do not overlap: each dx has one reader, and each dy is looked at once. */
static INLINE void FN(max_spread_body)(REAL *dx, const REAL *dy, const uint8_t *at, const REAL_INT *winner,
                                       const FN(cnn_windows) * p, const int taps) {
    EACH_WINDOW {
        const ptrdiff_t i = r * w.y_r + c * w.y_p;
        REAL *to = dx + r * w.x_r + c * w.x_p;
        const ivec place = at ? ivec_load_bytes(at + i) : ivec_load(winner + i), d = (ivec)vec_load(dy + i);
        for (ptrdiff_t t = 0; t < n; t++) vec_store(to + TAP(t), (vec)(d & (ivec)(place == POSITION(t))));
    }
}

void KERNEL(max_windows_spread)(REAL *dx, const REAL *dy, const uint8_t *at, const REAL_INT *winner,
                                const FN(cnn_windows) * p) {
    if (p->taps == 4 && at) FN(max_spread_body)(dx, dy, at, NULL, p, 4);
    else if (at) FN(max_spread_body)(dx, dy, at, NULL, p, 0);
    else FN(max_spread_body)(dx, dy, NULL, winner, p, 0);
}

static INLINE void FN(sum_body)(REAL *y, const REAL *x, const FN(cnn_windows) * p, const int taps) {
    const vec area = vec_set1(p->area);
    EACH_WINDOW {
        const REAL *from = x + r * w.x_r + c * w.x_p;
        vec sum = {0};
        for (ptrdiff_t t = 0; t < n; t++) sum = t ? sum + vec_load(from + TAP(t)) : vec_load(from + TAP(t));
        vec_store(y + r * w.y_r + c * w.y_p, w.area == 1 ? sum : sum / area);
    }
}

void KERNEL(sum_windows)(REAL *y, const REAL *x, const FN(cnn_windows) * p) {
    if (p->taps == 1) FN(sum_body)(y, x, p, 1);
    else if (p->taps == 2) FN(sum_body)(y, x, p, 2);
    else if (p->taps == 4) FN(sum_body)(y, x, p, 4);
    else if (p->taps == 9) FN(sum_body)(y, x, p, 9);
    else FN(sum_body)(y, x, p, 0);
}

#undef CONSTANT_TAPS
#undef EACH_WINDOW
#undef TAP
#undef POSITION

/* Where the window is the plane: no lane layout is needed. Sums of LANES planes' lanes are taken at once. A few planes are
 * added up side by side, as many as hide the latency of additions, and become one vector while they are in registers. */
#define MEAN_PLANES (LANES < 4 ? LANES : 4)
#define MEAN_GROUPS (LANES / MEAN_PLANES)

/* Sums of n neighbouring lanes each, of n = 1, 2 or 4 vectors in turn. */
static INLINE vec FN(sums_of)(const vec *r, const int n) {
    if (n == 1) return r[0];
    return n == 2 ? vec_sum_pairs(r[0], r[1]) : vec_sum_pairs(vec_sum_pairs(r[0], r[1]), vec_sum_pairs(r[2], r[3]));
}

void KERNEL(mean_each)(REAL *y, const REAL *x, ptrdiff_t planes, ptrdiff_t size) {
    const ptrdiff_t whole = size / LANES * LANES;
    const int rest = (int)(size - whole);
    for (ptrdiff_t i = 0; i < planes; i += LANES) {
        vec group[MEAN_GROUPS];
        for (int g = 0; g < MEAN_GROUPS; g++) {
            const REAL *from[MEAN_PLANES];
            vec sum[MEAN_PLANES];
            UNROLL for (int l = 0; l < MEAN_PLANES; l++) {
                from[l] = x + cnn_min(i + g * MEAN_PLANES + l, planes - 1) * size;
                sum[l] = rest ? vec_load_part(from[l] + whole, rest) : (vec){0};
            }
            for (ptrdiff_t j = 0; j < whole; j += LANES)
                UNROLL for (int l = 0; l < MEAN_PLANES; l++) sum[l] += vec_load(from[l] + j);
            group[g] = FN(sums_of)(sum, MEAN_PLANES);
        }
        const vec mean = FN(sums_of)(group, MEAN_GROUPS) / vec_set1((REAL)size);
        if (i + LANES <= planes) vec_store(y + i, mean);
        else vec_store_part(y + i, mean, (int)(planes - i));
    }
}

#undef MEAN_PLANES
#undef MEAN_GROUPS

void KERNEL(mean_each_grad)(REAL *dx, const REAL *dy, ptrdiff_t planes, ptrdiff_t size) {
    for (ptrdiff_t i = 0; i < planes; i++) {
        const vec share = vec_set1(dy[i] / (REAL)size);
        REAL *to = dx + i * size;
        ptrdiff_t j = 0;
        /* The last vector may reach into the next plane, which is written after it. */
        for (; j + LANES <= size || (j < size && i + 1 < planes && j + LANES <= 2 * size); j += LANES)
            vec_store(to + j, share);
        if (j < size) vec_store_part(to + j, share, (int)(size - j));
    }
}
