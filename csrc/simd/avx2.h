/* AVX2 and FMA: 32-byte vectors, 16 registers. */
#include <immintrin.h>

#define SIMD_BYTES 32
#define SIMD_FMA_f32(a, b, c) ((vec_f32)_mm256_fmadd_ps((__m256)(a), (__m256)(b), (__m256)(c)))
#define SIMD_FMA_f64(a, b, c) ((vec_f64)_mm256_fmadd_pd((__m256d)(a), (__m256d)(b), (__m256d)(c)))
#define SIMD_KEEP(v) __asm__("" : "+x"(v))

#define SIMD_SQRT_f32(v) ((vec_f32)_mm256_sqrt_ps((__m256)(v)))
#define SIMD_SQRT_f64(v) ((vec_f64)_mm256_sqrt_pd((__m256d)(v)))

/* A window of this table, starting n before the zeros, selects the first n lanes. */
static const int32_t simd_part_f32[16] = {-1, -1, -1, -1, -1, -1, -1, -1};
static const int64_t simd_part_f64[8] = {-1, -1, -1, -1};
#define SIMD_PART_f32(n) _mm256_loadu_si256((const __m256i *)(simd_part_f32 + 8 - (n)))
#define SIMD_PART_f64(n) _mm256_loadu_si256((const __m256i *)(simd_part_f64 + 4 - (n)))
#define SIMD_HAS_PART 1
#define SIMD_LOAD_PART_f32(p, n) ((vec_f32)_mm256_maskload_ps(p, SIMD_PART_f32(n)))
#define SIMD_LOAD_PART_f64(p, n) ((vec_f64)_mm256_maskload_pd(p, SIMD_PART_f64(n)))
#define SIMD_STORE_PART_f32(p, v, n) _mm256_maskstore_ps(p, SIMD_PART_f32(n), (__m256)(v))
#define SIMD_STORE_PART_f64(p, v, n) _mm256_maskstore_pd(p, SIMD_PART_f64(n), (__m256d)(v))

#define SIMD_HAS_STREAM 1
#define SIMD_STREAM_f32(p, v) _mm256_stream_ps(p, (__m256)(v))
#define SIMD_STREAM_f64(p, v) _mm256_stream_pd(p, (__m256d)(v))
#define SIMD_FENCE() _mm_sfence()

/* Integer lanes of 0 to 255 from and to bytes. */
static inline __m128i simd_four_bytes(const uint8_t *p) {
    int32_t four;
    memcpy(&four, p, sizeof four);
    return _mm_cvtsi32_si128(four);
}
static inline void simd_store_bytes_f32(uint8_t *p, __m256i v) {
    const __m128i halves = _mm_packs_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    _mm_storel_epi64((__m128i *)p, _mm_packus_epi16(halves, halves));
}
static inline void simd_store_bytes_f64(uint8_t *p, __m256i v) {
    const __m256i words = _mm256_permutevar8x32_epi32(v, _mm256_setr_epi32(0, 2, 4, 6, 0, 2, 4, 6));
    const __m128i halves = _mm_packs_epi32(_mm256_castsi256_si128(words), _mm256_castsi256_si128(words));
    const int32_t four = _mm_cvtsi128_si32(_mm_packus_epi16(halves, halves));
    memcpy(p, &four, sizeof four);
}
#define SIMD_HAS_BYTES 1
#define SIMD_LOAD_BYTES_f32(p) ((ivec_f32)_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(p))))
#define SIMD_LOAD_BYTES_f64(p) ((ivec_f64)_mm256_cvtepu8_epi64(simd_four_bytes(p)))
#define SIMD_STORE_BYTES_f32(p, v) simd_store_bytes_f32(p, (__m256i)(v))
#define SIMD_STORE_BYTES_f64(p, v) simd_store_bytes_f64(p, (__m256i)(v))

/* Transposes with half as many shuffles as zips take here, each of which crosses the halves of a register. */
static inline __attribute__((always_inline)) void simd_transpose_f32(__m256 *r) {
    __m256 a[8], b[8];
#pragma GCC unroll 4
    for (int i = 0; i < 8; i += 2) {
        a[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
        a[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        const int from = i / 2 * 4 + i % 2, to = i / 2 * 4 + i % 2 * 2;
        b[to] = _mm256_shuffle_ps(a[from], a[from + 2], 0x44);
        b[to + 1] = _mm256_shuffle_ps(a[from], a[from + 2], 0xee);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        r[i] = _mm256_permute2f128_ps(b[i], b[i + 4], 0x20);
        r[i + 4] = _mm256_permute2f128_ps(b[i], b[i + 4], 0x31);
    }
}
static inline __attribute__((always_inline)) void simd_transpose_f64(__m256d *r) {
    const __m256d a = _mm256_unpacklo_pd(r[0], r[1]), b = _mm256_unpackhi_pd(r[0], r[1]);
    const __m256d c = _mm256_unpacklo_pd(r[2], r[3]), d = _mm256_unpackhi_pd(r[2], r[3]);
    r[0] = _mm256_permute2f128_pd(a, c, 0x20);
    r[1] = _mm256_permute2f128_pd(b, d, 0x20);
    r[2] = _mm256_permute2f128_pd(a, c, 0x31);
    r[3] = _mm256_permute2f128_pd(b, d, 0x31);
}
#define SIMD_HAS_TRANSPOSE 1
#define SIMD_TRANSPOSE_f32(r) simd_transpose_f32((__m256 *)(r))
#define SIMD_TRANSPOSE_f64(r) simd_transpose_f64((__m256d *)(r))

#define GRAD_KB 4
#define GRAD_TB 3
#define GEMM_MB 4
#define GEMM_NB 3
#define GEMM_ROWS(nb) ((nb) == 1 ? 9 : (nb) == 2 ? 6 : GEMM_MB)
