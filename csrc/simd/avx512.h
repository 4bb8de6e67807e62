/* AVX-512 (F, DQ, BW, VL): 64-byte vectors, 32 registers. */
#include <immintrin.h>

#define SIMD_BYTES 64
#define SIMD_FMA_f32(a, b, c) ((vec_f32)_mm512_fmadd_ps((__m512)(a), (__m512)(b), (__m512)(c)))
#define SIMD_FMA_f64(a, b, c) ((vec_f64)_mm512_fmadd_pd((__m512d)(a), (__m512d)(b), (__m512d)(c)))
#define SIMD_KEEP(v) __asm__("" : "+v"(v))

#define SIMD_SQRT_f32(v) ((vec_f32)_mm512_sqrt_ps((__m512)(v)))
#define SIMD_SQRT_f64(v) ((vec_f64)_mm512_sqrt_pd((__m512d)(v)))

#define SIMD_HAS_PART 1
#define SIMD_LOAD_PART_f32(p, n) ((vec_f32)_mm512_maskz_loadu_ps((__mmask16)((1u << (n)) - 1), p))
#define SIMD_LOAD_PART_f64(p, n) ((vec_f64)_mm512_maskz_loadu_pd((__mmask8)((1u << (n)) - 1), p))
#define SIMD_STORE_PART_f32(p, v, n) _mm512_mask_storeu_ps(p, (__mmask16)((1u << (n)) - 1), (__m512)(v))
#define SIMD_STORE_PART_f64(p, v, n) _mm512_mask_storeu_pd(p, (__mmask8)((1u << (n)) - 1), (__m512d)(v))

#define SIMD_HAS_STREAM 1
#define SIMD_STREAM_f32(p, v) _mm512_stream_ps(p, (__m512)(v))
#define SIMD_STREAM_f64(p, v) _mm512_stream_pd(p, (__m512d)(v))
#define SIMD_FENCE() _mm_sfence()

#define SIMD_HAS_BYTES 1
#define SIMD_LOAD_BYTES_f32(p) ((ivec_f32)_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(p))))
#define SIMD_LOAD_BYTES_f64(p) ((ivec_f64)_mm512_cvtepu8_epi64(_mm_loadl_epi64((const __m128i *)(p))))
#define SIMD_STORE_BYTES_f32(p, v) _mm_storeu_si128((__m128i *)(p), _mm512_cvtepi32_epi8((__m512i)(v)))
#define SIMD_STORE_BYTES_f64(p, v) _mm_storel_epi64((__m128i *)(p), _mm512_cvtepi64_epi8((__m512i)(v)))

/* Rows that are transposed on their way from memory take half of the shuffles, or a third: pieces of every fourth row, or
 * second, are put side by side as they are loaded. Four rows' cache lines are used up before the next are touched: rows that
 * are multiples of 4 KB apart all take each other's place in a first-level cache. */
static inline __attribute__((always_inline)) __m512 simd_load_pieces(const void *p, ptrdiff_t bytes_apart) {
    const char *piece = p;
    __m512 v = _mm512_castps128_ps512(_mm_loadu_ps(p));
#pragma GCC unroll 3
    for (int i = 1; i < 4; i++)
        v = _mm512_mask_broadcast_f32x4(v, (__mmask16)(0xf << 4 * i), _mm_loadu_ps((const void *)(piece + i * bytes_apart)));
    return v;
}
static inline __attribute__((always_inline)) void simd_load_transposed_f32(__m512 *r, const float *p, ptrdiff_t stride) {
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++)
#pragma GCC unroll 4
        for (int c = 0; c < 16; c += 4) r[c + i] = simd_load_pieces(p + i * stride + c, 16 * stride);
#pragma GCC unroll 4
    for (int c = 0; c < 16; c += 4) {
        const __m512d a = (__m512d)_mm512_unpacklo_ps(r[c], r[c + 1]), b = (__m512d)_mm512_unpackhi_ps(r[c], r[c + 1]);
        const __m512d d = (__m512d)_mm512_unpacklo_ps(r[c + 2], r[c + 3]), e = (__m512d)_mm512_unpackhi_ps(r[c + 2], r[c + 3]);
        r[c] = (__m512)_mm512_unpacklo_pd(a, d);
        r[c + 1] = (__m512)_mm512_unpackhi_pd(a, d);
        r[c + 2] = (__m512)_mm512_unpacklo_pd(b, e);
        r[c + 3] = (__m512)_mm512_unpackhi_pd(b, e);
    }
}
static inline __attribute__((always_inline)) void simd_load_transposed_f64(__m512d *r, const double *p, ptrdiff_t stride) {
#pragma GCC unroll 2
    for (int i = 0; i < 2; i++)
#pragma GCC unroll 4
        for (int c = 0; c < 8; c += 2) r[c + i] = (__m512d)simd_load_pieces(p + i * stride + c, 16 * stride);
#pragma GCC unroll 4
    for (int c = 0; c < 8; c += 2) {
        const __m512d a = r[c], b = r[c + 1];
        r[c] = _mm512_unpacklo_pd(a, b);
        r[c + 1] = _mm512_unpackhi_pd(a, b);
    }
}
#define SIMD_HAS_LOAD_TRANSPOSED 1
#define SIMD_LOAD_TRANSPOSED_f32(r, p, stride) simd_load_transposed_f32((__m512 *)(r), p, stride)
#define SIMD_LOAD_TRANSPOSED_f64(r, p, stride) simd_load_transposed_f64((__m512d *)(r), p, stride)

#define GRAD_KB 5
#define GRAD_TB 5
#define GEMM_MB 5
#define GEMM_NB 4
#define GEMM_ROWS(nb) ((nb) == 1 ? 12 : (nb) == 2 ? 10 : (nb) == 3 ? 7 : GEMM_MB)
