/* The drivers, compiled for f32. */
#include "../cnn.h"
#include "../dispatch.h"
#include "../parallel.h"
#include "sizes.h"

#include "../real_f32.h"
#include "lanes.h"
#include "stream.h"

#include "taps.c"
#include "winograd.c"

#include "conv2d.c"
#include "conv2d_grad.c"
#include "pool2d.c"
#include "dense.c"
#include "elementwise.c"
#include "channels.c"
#include "losses.c"
