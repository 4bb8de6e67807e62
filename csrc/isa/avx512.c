#define CNN_ISA avx512
#include "../common.h"
#include "../simd/avx512.h"

#include "instantiate.h"
