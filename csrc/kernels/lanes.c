/* NCHW <-> lane layout: flat transposes of LANES planes, LANES positions at a time; and copies of rows. */

/* Where no plane is missing, all blocks are whole, the last one overlapping the one before it, and stay in registers. */
void KERNEL(lanes_from_planes)(REAL *dst, const REAL *src, ptrdiff_t stride, int planes, ptrdiff_t count) {
    if (planes == LANES && count >= LANES) {
        for (ptrdiff_t at = 0; at < count; at += LANES) {
            const ptrdiff_t i = cnn_min(at, count - LANES);
            vec r[LANES];
            vec_load_transposed(r, src + i, stride);
            UNROLL for (int j = 0; j < LANES; j++) vec_store(dst + (i + j) * LANES, r[j]);
        }
        return;
    }
    for (ptrdiff_t i = 0; i < count; i += LANES) {
        const int n = (int)cnn_min(LANES, count - i);
        vec r[LANES];
        for (int l = 0; l < planes; l++) r[l] = vec_load_part(src + l * stride + i, n);
        for (int l = planes; l < LANES; l++) r[l] = (vec){0};
        vec_transpose(r);
        for (int j = 0; j < n; j++) vec_store(dst + (i + j) * LANES, r[j]);
    }
}

void KERNEL(planes_from_lanes)(REAL *dst, ptrdiff_t stride, int planes, const REAL *src, ptrdiff_t count) {
    if (planes == LANES && count >= LANES) {
        for (ptrdiff_t at = 0; at < count; at += LANES) {
            const ptrdiff_t i = cnn_min(at, count - LANES);
            vec r[LANES];
            vec_load_transposed(r, src + i * LANES, LANES);
            UNROLL for (int l = 0; l < LANES; l++) vec_store(dst + l * stride + i, r[l]);
        }
        return;
    }
    for (ptrdiff_t i = 0; i < count; i += LANES) {
        const int n = (int)cnn_min(LANES, count - i);
        vec r[LANES];
        for (int j = 0; j < n; j++) r[j] = vec_load(src + (i + j) * LANES);
        for (int j = n; j < LANES; j++) r[j] = (vec){0};
        vec_transpose(r);
        for (int l = 0; l < planes; l++) vec_store_part(dst + l * stride + i, r[l], n);
    }
}

void KERNEL(swap_lanes)(REAL *dst, ptrdiff_t stride, int lanes, const REAL *src, ptrdiff_t plane, int planes,
                        ptrdiff_t count) {
    for (ptrdiff_t i = 0; i < count; i++, dst += LANES, src += LANES) {
        vec r[LANES];
        if (planes == LANES) {
            UNROLL for (int q = 0; q < LANES; q++) r[q] = vec_load(src + q * plane);
        } else {
            UNROLL for (int q = 0; q < LANES; q++) r[q] = q < planes ? vec_load(src + q * plane) : (vec){0};
        }
        vec_transpose(r);
        if (lanes == LANES) {
            UNROLL for (int l = 0; l < LANES; l++) vec_store(dst + l * stride, r[l]);
        } else {
            UNROLL for (int l = 0; l < LANES; l++)
                if (l < lanes) vec_store(dst + l * stride, r[l]);
        }
    }
}

void KERNEL(lanes_gather)(REAL *dst, const REAL *const *src, ptrdiff_t planes, ptrdiff_t count) {
    vec r[LANES];
    for (ptrdiff_t i = 0; i < count; i += LANES) {
        const int n = (int)cnn_min(LANES, count - i);
        for (ptrdiff_t l = 0; l < planes; l++) r[l] = vec_load_part(src[l] + i, n);
        for (ptrdiff_t l = planes; l < LANES; l++) r[l] = (vec){0};
        vec_transpose(r);
        for (int j = 0; j < n; j++) vec_store(dst + (i + j) * LANES, r[j]);
    }
}

void KERNEL(planes_scatter)(REAL *const *dst, const ptrdiff_t *counts, ptrdiff_t planes, const REAL *src,
                            ptrdiff_t count) {
    vec r[LANES];
    for (ptrdiff_t i = 0; i < count; i += LANES) {
        const int n = (int)cnn_min(LANES, count - i);
        for (int j = 0; j < n; j++) r[j] = vec_load(src + (i + j) * LANES);
        for (int j = n; j < LANES; j++) r[j] = (vec){0};
        vec_transpose(r);
        for (ptrdiff_t l = 0; l < planes; l++) {
            const int left = (int)cnn_min(n, counts[l] - i);
            if (left > 0) vec_store_part(dst[l] + i, r[l], left);
        }
    }
}

static INLINE void FN(copy_row)(REAL *dst, const REAL *src, ptrdiff_t n) {
    if (n < LANES) {
        vec_store_part(dst, vec_load_part(src, (int)n), (int)n);
        return;
    }
    for (ptrdiff_t i = 0; i + LANES <= n; i += LANES) vec_store(dst + i, vec_load(src + i));
    vec_store(dst + n - LANES, vec_load(src + n - LANES));
}

/* dst[i] = src[2 * i], where nothing may be read behind the last one. */
static INLINE void FN(copy_even)(REAL *dst, const REAL *src, ptrdiff_t n) {
    for (; n > LANES; n -= LANES, dst += LANES, src += 2 * LANES)
        vec_store(dst, vec_even(vec_load(src), vec_load(src + LANES)));
    const int span = 2 * (int)n - 1;
    const vec lo = span < LANES ? vec_load_part(src, span) : vec_load(src);
    const vec hi = span > LANES ? vec_load_part(src + LANES, span - LANES) : (vec){0};
    vec_store_part(dst, vec_even(lo, hi), (int)n);
}

void KERNEL(copy_rows)(REAL *dst, ptrdiff_t dst_j, ptrdiff_t dst_i, const REAL *src, ptrdiff_t src_j, ptrdiff_t src_i,
                       ptrdiff_t rows, ptrdiff_t cols) {
    for (ptrdiff_t j = 0; cols > 0 && j < rows; j++, dst += dst_j, src += src_j) {
        if (dst_i == 1 && src_i == 1) FN(copy_row)(dst, src, cols);
        else if (dst_i == 1 && src_i == 2) FN(copy_even)(dst, src, cols);
        else if (dst_i == 1 && src_i == 4) /* a loop that compilers turn into shuffles */
            for (ptrdiff_t i = 0; i < cols; i++) dst[i] = src[4 * i];
        else
            for (ptrdiff_t i = 0; i < cols; i++) dst[i * dst_i] = src[i * src_i];
    }
}
