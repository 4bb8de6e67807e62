#define CNN_ISA neon
#include "../common.h"
#include "../simd/neon.h"

#include "instantiate.h"
