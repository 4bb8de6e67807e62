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

#define GRAD_KB 5
#define GRAD_TB 5
#define GEMM_MB 5
#define GEMM_NB 4
#define GEMM_ROWS(nb) ((nb) == 1 ? 12 : (nb) == 2 ? 10 : (nb) == 3 ? 7 : GEMM_MB)
