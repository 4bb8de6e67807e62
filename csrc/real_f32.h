#include "real.h"
#define REAL float
#define REAL_SUFFIX f32
#define REAL_BYTES 4
#define REAL_INT int32_t
