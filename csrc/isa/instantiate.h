/* Compiles every kernel for the instruction set whose simd/<isa>.h was included before, and defines its table: for the
 * element type that the build names, CNN_ONLY_F32 or CNN_ONLY_F64, or else for both. CNN_ISA is the instruction set's name. */
#include "../cnn.h"
#include "../common.h"

#define KERNEL(name) CNN_CAT(CNN_CAT(CNN_CAT(CNN_CAT(cnn_##name, _), REAL_SUFFIX), __), CNN_ISA)

#ifndef CNN_ONLY_F64
#include "../real_f32.h"
#include "instantiate_real.h"
#include "../real_end.h"
#endif

#ifndef CNN_ONLY_F32
#include "../real_f64.h"
#include "instantiate_real.h"
#include "../real_end.h"
#endif
