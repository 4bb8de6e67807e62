/* Portable baseline: 16-byte vectors in the compiler's vector extension, no intrinsics.
 * On x86-64 this is SSE2, on arm64 without simd/neon.h it is NEON without fused multiply-add, elsewhere
 * the compiler lowers it to what the machine has. A product is rounded before it is added. */
#define SIMD_BYTES 16
#define SIMD_FMA_f32(a, b, c) ((a) * (b) + (c))
#define SIMD_FMA_f64(a, b, c) ((a) * (b) + (c))
#define SIMD_SQRT_f32(v) ((vec_f32){sqrtf((v)[0]), sqrtf((v)[1]), sqrtf((v)[2]), sqrtf((v)[3])})
#define SIMD_SQRT_f64(v) ((vec_f64){sqrt((v)[0]), sqrt((v)[1])})
#define SIMD_KEEP(v) ((void)0)

/* Register tiles for 16 registers, one of them taken by the product: see kernels/conv.c, kernels/dense.c. */
#define GRAD_KB 3
#define GRAD_TB 3
#define GEMM_MB 2
#define GEMM_NB 4
#define GEMM_ROWS(nb) ((nb) == 1 ? 10 : (nb) == 2 ? 5 : (nb) == 3 ? 3 : GEMM_MB)
