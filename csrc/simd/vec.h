/* The vector vocabulary: all that a kernel may say about SIMD.
 *
 * Included once per REAL after a simd/<isa>.h, which gives SIMD_BYTES, the fused multiply-add and the register
 * tiles. Everything else is the vector extension of GCC and Clang, which costs nothing against intrinsics.
 *
 *   vec                       LANES elements of REAL in one register; ivec, the mask type of comparisons
 *   vec_load, vec_store       any address that REAL may have
 *   vec_load_part/store_part  the first n lanes only, 0 < n <= LANES: never touches memory past them
 *   vec_set1(s)               s in every lane
 *   vec_fma(a, b, c)          a * b + c
 *   vec_sqrt(v)               square roots, correctly rounded
 *   vec_select(m, a, b)       lane of a where m is all ones, of b where it is 0
 *   vec_zip_lo/hi(a, b)       a0 b0 a1 b1 ... from the lower / upper halves
 *   vec_even/odd(a, b)        every other lane of a, then of b, from the first / second on
 *   ivec_set1(i)              i in every lane
 *   ivec_load, ivec_store     any address that REAL_INT may have
 *   ivec_load/store_bytes     lanes of 0 to 255, as LANES bytes
 *   vec_transpose(r)          LANES vectors as a matrix, transposed in place
 *   vec_load_transposed(r, p, stride)  LANES vectors of memory `stride` apart as a matrix, transposed
 *   vec_sum_pairs(a, b)       sums of neighbouring lanes: of a, then of b
 *   vec_sum_each(r)           lane i of the result is the sum of the lanes of r[i], in a fixed order
 *   vec_sum(v)                sum of the lanes, in a fixed order
 *   vec_stream(p, v)          store past the caches, p on a multiple of a vector; vec_fence() before others may read it.
 *                             Where SIMD_HAS_STREAM is missing both are ordinary
 *   vec_keep(v)               v stays in a register: stops the compiler from folding a load that is used several
 *                             times into each of its uses, which would load it again and again */
#define LANES ((int)(SIMD_BYTES / REAL_BYTES))

typedef REAL FN(vec) __attribute__((vector_size(SIMD_BYTES)));
typedef REAL FN(vec_mem) __attribute__((vector_size(SIMD_BYTES), aligned(REAL_BYTES), may_alias));
typedef REAL_INT FN(ivec) __attribute__((vector_size(SIMD_BYTES)));
typedef REAL_INT FN(ivec_mem) __attribute__((vector_size(SIMD_BYTES), aligned(REAL_BYTES), may_alias));

#define vec FN(vec)
#define ivec FN(ivec)
#define vec_load FN(vec_load)
#define vec_store FN(vec_store)
#define vec_load_part FN(vec_load_part)
#define vec_store_part FN(vec_store_part)
#define vec_set1 FN(vec_set1)
#define vec_fma(a, b, c) FN(SIMD_FMA)(a, b, c)
#define vec_sqrt(v) FN(SIMD_SQRT)(v)
#define vec_select FN(vec_select)
#define vec_zip_lo FN(vec_zip_lo)
#define vec_zip_hi FN(vec_zip_hi)
#define vec_even FN(vec_even)
#define vec_odd FN(vec_odd)
#define ivec_set1 FN(ivec_set1)
#define ivec_load FN(ivec_load)
#define ivec_store FN(ivec_store)
#define ivec_load_bytes FN(ivec_load_bytes)
#define ivec_store_bytes FN(ivec_store_bytes)
#define vec_transpose FN(vec_transpose)
#define vec_load_transposed FN(vec_load_transposed)
#define vec_sum_pairs FN(vec_sum_pairs)
#define vec_sum_each FN(vec_sum_each)
#define vec_sum FN(vec_sum)
#define vec_stream FN(vec_stream)
#define vec_fence FN(vec_fence)
#define vec_keep(v) SIMD_KEEP(v)

static INLINE vec vec_load(const REAL *p) { return *(const FN(vec_mem) *)p; }
static INLINE void vec_store(REAL *p, vec v) { *(FN(vec_mem) *)p = v; }
static INLINE vec vec_set1(REAL s) { return s - (vec){0}; }

#ifdef SIMD_HAS_PART
static INLINE vec vec_load_part(const REAL *p, int n) { return FN(SIMD_LOAD_PART)(p, n); }
static INLINE void vec_store_part(REAL *p, vec v, int n) { FN(SIMD_STORE_PART)(p, v, n); }
#else
static INLINE vec vec_load_part(const REAL *p, int n) {
    vec v = {0};
    memcpy(&v, p, (size_t)n * REAL_BYTES);
    return v;
}
static INLINE void vec_store_part(REAL *p, vec v, int n) { memcpy(p, &v, (size_t)n * REAL_BYTES); }
#endif

#ifdef SIMD_HAS_STREAM
static INLINE void vec_stream(REAL *p, vec v) { FN(SIMD_STREAM)(p, v); }
static INLINE void vec_fence(void) { SIMD_FENCE(); }
#else
static INLINE void vec_stream(REAL *p, vec v) { vec_store(p, v); }
static INLINE void vec_fence(void) {}
#endif

static INLINE vec vec_select(ivec m, vec a, vec b) { return (vec)((m & (ivec)a) | (~m & (ivec)b)); }

static INLINE ivec ivec_set1(REAL_INT i) { return i - (ivec){0}; }
static INLINE ivec ivec_load(const REAL_INT *p) { return *(const FN(ivec_mem) *)p; }
static INLINE void ivec_store(REAL_INT *p, ivec v) { *(FN(ivec_mem) *)p = v; }
#ifdef SIMD_HAS_BYTES
static INLINE ivec ivec_load_bytes(const uint8_t *p) { return FN(SIMD_LOAD_BYTES)(p); }
static INLINE void ivec_store_bytes(uint8_t *p, ivec v) { FN(SIMD_STORE_BYTES)(p, v); }
#else
static INLINE ivec ivec_load_bytes(const uint8_t *p) {
    ivec v;
    UNROLL for (int l = 0; l < LANES; l++) v[l] = p[l];
    return v;
}
static INLINE void ivec_store_bytes(uint8_t *p, ivec v) {
    UNROLL for (int l = 0; l < LANES; l++) p[l] = (uint8_t)v[l];
}
#endif

/* Index lists of the zips, and of every other lane, for a vector of 2, 4, 8 or 16 lanes. */
#if SIMD_BYTES / REAL_BYTES == 2
#define ZIP_LO 0, 2
#define ZIP_HI 1, 3
#define EVEN 0, 2
#define ODD 1, 3
#elif SIMD_BYTES / REAL_BYTES == 4
#define ZIP_LO 0, 4, 1, 5
#define ZIP_HI 2, 6, 3, 7
#define EVEN 0, 2, 4, 6
#define ODD 1, 3, 5, 7
#elif SIMD_BYTES / REAL_BYTES == 8
#define ZIP_LO 0, 8, 1, 9, 2, 10, 3, 11
#define ZIP_HI 4, 12, 5, 13, 6, 14, 7, 15
#define EVEN 0, 2, 4, 6, 8, 10, 12, 14
#define ODD 1, 3, 5, 7, 9, 11, 13, 15
#else
#define ZIP_LO 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define ZIP_HI 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#define EVEN 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30
#define ODD 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31
#endif
#if defined(__clang__) || __GNUC__ >= 12
static INLINE vec vec_zip_lo(vec a, vec b) { return __builtin_shufflevector(a, b, ZIP_LO); }
static INLINE vec vec_zip_hi(vec a, vec b) { return __builtin_shufflevector(a, b, ZIP_HI); }
static INLINE vec vec_even(vec a, vec b) { return __builtin_shufflevector(a, b, EVEN); }
static INLINE vec vec_odd(vec a, vec b) { return __builtin_shufflevector(a, b, ODD); }
#else
static INLINE vec vec_zip_lo(vec a, vec b) { return __builtin_shuffle(a, b, (ivec){ZIP_LO}); }
static INLINE vec vec_zip_hi(vec a, vec b) { return __builtin_shuffle(a, b, (ivec){ZIP_HI}); }
static INLINE vec vec_even(vec a, vec b) { return __builtin_shuffle(a, b, (ivec){EVEN}); }
static INLINE vec vec_odd(vec a, vec b) { return __builtin_shuffle(a, b, (ivec){ODD}); }
#endif
#undef ZIP_LO
#undef ZIP_HI
#undef EVEN
#undef ODD

#ifdef SIMD_HAS_TRANSPOSE
static INLINE void vec_transpose(vec r[LANES]) { FN(SIMD_TRANSPOSE)(r); }
#else
/* log2(LANES) rounds of zips: each moves the highest bit of the row number to the lowest of the column's. */
static INLINE void vec_transpose(vec r[LANES]) {
    vec t[LANES];
    UNROLL for (int round = 1; round < LANES; round *= 2) {
        UNROLL for (int i = 0; i < LANES / 2; i++) {
            t[2 * i] = vec_zip_lo(r[i], r[i + LANES / 2]);
            t[2 * i + 1] = vec_zip_hi(r[i], r[i + LANES / 2]);
        }
        UNROLL for (int i = 0; i < LANES; i++) r[i] = t[i];
    }
}
#endif

#ifdef SIMD_HAS_LOAD_TRANSPOSED
static INLINE void vec_load_transposed(vec r[LANES], const REAL *p, ptrdiff_t stride) {
    FN(SIMD_LOAD_TRANSPOSED)(r, p, stride);
}
#else
static INLINE void vec_load_transposed(vec r[LANES], const REAL *p, ptrdiff_t stride) {
    UNROLL for (int l = 0; l < LANES; l++) r[l] = vec_load(p + l * stride);
    vec_transpose(r);
}
#endif

static INLINE vec vec_sum_pairs(vec a, vec b) { return vec_even(a, b) + vec_odd(a, b); }

static INLINE vec vec_sum_each(vec r[LANES]) {
    UNROLL for (int half = LANES / 2; half > 0; half /= 2)
        UNROLL for (int i = 0; i < half; i++) r[i] = vec_sum_pairs(r[2 * i], r[2 * i + 1]);
    return r[0];
}

static INLINE REAL vec_sum(vec v) {
    REAL s[LANES];
    vec_store(s, v);
    for (int half = LANES / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++) s[i] += s[i + half];
    return s[0];
}
