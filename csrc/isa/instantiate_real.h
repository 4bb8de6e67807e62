#include "../kernels.h"
#include "../simd/vec.h"

#include "../kernels/conv.c"
#include "../kernels/depthwise.c"
#include "../kernels/dense.c"
#include "../kernels/elementwise.c"
#include "../kernels/updates.c"
#include "../kernels/activation.c"
#include "../kernels/losses.c"
#include "../kernels/curves.c"
#include "../kernels/response.c"
#include "../kernels/random.c"
#include "../kernels/normalize.c"
#include "../kernels/lanes.c"
#include "../kernels/pool.c"
#include "../kernels/fused.c"
#include "../kernels/winograd.c"

const FN(cnn_table) KERNEL(table) = {
    .lanes = LANES,
    .grad_kb = GRAD_KB,
    .grad_tb = GRAD_TB,
    .gemm_mb = GEMM_MB,
    .gemm_nb = GEMM_NB,
    .gemm_rows = {0, GEMM_ROWS(1), GEMM_ROWS(2), GEMM_ROWS(3), GEMM_ROWS(4)},
#ifdef SIMD_HAS_STREAM
    .streams = 1,
#endif
#define CNN_INIT(name, args) .name = KERNEL(name),
    CNN_KERNELS(CNN_INIT)
#undef CNN_INIT
};

#undef EACH_VECTOR
#include "../simd/vec_end.h"
