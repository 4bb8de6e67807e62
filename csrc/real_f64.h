#include "real.h"
#define REAL double
#define REAL_SUFFIX f64
#define REAL_BYTES 8
#define REAL_INT int64_t
