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

#define GRAD_KB 4
#define GRAD_TB 3
#define GEMM_MB 4
#define GEMM_NB 3
#define GEMM_ROWS(nb) ((nb) == 1 ? 9 : (nb) == 2 ? 6 : GEMM_MB)
