/* NEON on arm64: 16-byte vectors, 32 registers, fused multiply-add. */
#include <arm_neon.h>

#define SIMD_BYTES 16
#define SIMD_FMA_f32(a, b, c) ((vec_f32)vfmaq_f32((float32x4_t)(c), (float32x4_t)(a), (float32x4_t)(b)))
#define SIMD_FMA_f64(a, b, c) ((vec_f64)vfmaq_f64((float64x2_t)(c), (float64x2_t)(a), (float64x2_t)(b)))
#define SIMD_SQRT_f32(v) ((vec_f32)vsqrtq_f32((float32x4_t)(v)))
#define SIMD_SQRT_f64(v) ((vec_f64)vsqrtq_f64((float64x2_t)(v)))
#define SIMD_KEEP(v) __asm__("" : "+w"(v))

#define GRAD_KB 5
#define GRAD_TB 5
#define GEMM_MB 5
#define GEMM_NB 4
#define GEMM_ROWS(nb) ((nb) == 1 ? 12 : (nb) == 2 ? 10 : (nb) == 3 ? 7 : GEMM_MB)
