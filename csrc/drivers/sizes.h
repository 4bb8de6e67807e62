/* Checks of the sizes that a caller states: the C twin of cnnlib/shapes.py's formulas. */
#ifndef CNN_SIZES_H
#define CNN_SIZES_H

#include "../cnn.h"
#include "../common.h"

/* Largest size, stride, padding or dilation: keeps every product of two of them inside ptrdiff_t. */
#define CNN_LARGEST ((ptrdiff_t)1 << 30)

/* Whether `out` positions of a window fit an axis: 1 <= out <= (in + 2 pad - dilation (kernel - 1) - 1)/stride + 1. */
static inline int cnn_axis_valid(ptrdiff_t in, ptrdiff_t out, ptrdiff_t kernel, ptrdiff_t stride, ptrdiff_t pad,
                                 ptrdiff_t dilation) {
    const ptrdiff_t all[] = {in, out, kernel, stride, dilation, pad + 1};
    for (int i = 0; i < 6; i++)
        if (all[i] < 1 || all[i] > CNN_LARGEST) return 0;
    const ptrdiff_t room = in + 2 * pad - dilation * (kernel - 1) - 1;
    return room >= 0 && out <= room / stride + 1;
}

/* Most elements of the planes of one image, padding and the rest of a last stride and vector included: their products with
 * what else counts them stay inside ptrdiff_t. Arrays are memory, and so smaller, but padding and strides are numbers. */
#define CNN_MOST_ELEMENTS 0x1p50

static inline double cnn_extent(ptrdiff_t in, ptrdiff_t stride, ptrdiff_t pad) {
    const double padded = (double)in + 2 * (double)pad;
    return padded + 64 * fmin((double)stride, padded);
}

static inline int cnn_conv2d_valid(const cnn_conv2d *p) {
    const double plane = cnn_extent(p->h, p->stride_h, p->pad_h) * cnn_extent(p->w, p->stride_w, p->pad_w);
    return p->n > 0 && plane * (double)cnn_max(p->c, p->k) <= CNN_MOST_ELEMENTS && p->c > 0 && p->k > 0 && p->groups > 0 && p->c % p->groups == 0 && p->k % p->groups == 0 &&
           cnn_axis_valid(p->h, p->oh, p->r, p->stride_h, p->pad_h, p->dilation_h) &&
           cnn_axis_valid(p->w, p->ow, p->s, p->stride_w, p->pad_w, p->dilation_w);
}

/* A stride beyond the padded image, which leaves one window, is as good as one as large. */
static inline void cnn_clip_strides(cnn_conv2d *p) {
    p->stride_h = cnn_min(p->stride_h, p->h + 2 * p->pad_h);
    p->stride_w = cnn_min(p->stride_w, p->w + 2 * p->pad_w);
}

/* Whether every one of `out` windows meets the axis. */
static inline int cnn_pool_axis_valid(ptrdiff_t in, ptrdiff_t out, ptrdiff_t kernel, ptrdiff_t stride, ptrdiff_t pad,
                                      ptrdiff_t after) {
    const ptrdiff_t all[] = {in, out, kernel, stride, pad + 1, after + 1};
    for (int i = 0; i < 6; i++)
        if (all[i] < 1 || all[i] > CNN_LARGEST) return 0;
    return pad < kernel && (out - 1) * stride - pad < in;
}

/* Windows are counted in 32 bits. */
static inline int cnn_pool2d_valid(const cnn_pool2d *p) {
    return p->planes > 0 && (double)p->kernel_h * (double)p->kernel_w <= INT32_MAX &&
           cnn_pool_axis_valid(p->h, p->oh, p->kernel_h, p->stride_h, p->pad_h, p->after_h) &&
           cnn_pool_axis_valid(p->w, p->ow, p->kernel_w, p->stride_w, p->pad_w, p->after_w);
}

#endif
