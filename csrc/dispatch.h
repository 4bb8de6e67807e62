/* The kernel tables in use. Set once at the first look and by cnn_set_isa. */
#ifndef CNN_DISPATCH_H
#define CNN_DISPATCH_H

#include "cnn.h"
#include "common.h"

#include "real_f32.h"
#include "kernels.h"
#include "real_end.h"

#include "real_f64.h"
#include "kernels.h"
#include "real_end.h"

const cnn_table_f32 *cnn_kernels_f32(void);
const cnn_table_f64 *cnn_kernels_f64(void);

#endif
