#define CNN_ISA avx2
#include "../common.h"
#include "../simd/avx2.h"

#include "instantiate.h"
