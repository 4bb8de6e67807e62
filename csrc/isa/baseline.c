#define CNN_ISA baseline
#include "../common.h"
#include "../simd/portable.h"

#include "instantiate.h"
