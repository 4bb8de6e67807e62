/* Compiles every kernel for the instruction set whose simd/<isa>.h was included before, for both element types,
 * and defines its two tables. CNN_ISA is the instruction set's name. */
#include "../cnn.h"
#include "../common.h"

#define KERNEL(name) CNN_CAT(CNN_CAT(CNN_CAT(CNN_CAT(cnn_##name, _), REAL_SUFFIX), __), CNN_ISA)

#include "../real_f32.h"
#include "instantiate_real.h"
#include "../real_end.h"

#include "../real_f64.h"
#include "instantiate_real.h"
#include "../real_end.h"
