/* Convolution forward and its input gradient: which way they take, and what that way is told.
 *
 * The gradient is told as a convolution too: dy is the source, input and output channels change places. */

cnn_status FN(cnn_conv2d_forward)(REAL *y, const REAL *x, const REAL *w, const REAL *b, const cnn_conv2d *p) {
    if (!cnn_conv2d_valid(p)) return CNN_BAD_SIZE;
    const ptrdiff_t area = p->r * p->s, cin = p->c / p->groups, cout = p->k / p->groups;
    if (FN(winograd_pays)(p, cin, cout, p->oh, p->ow)) {
        FN(winograd) v = {.table = FN(cnn_kernels)(), .groups = p->groups, .cin = cin, .cout = cout,
                          .from = {.images = p->n, .channels = p->c, .h = p->h, .w = p->w, .top = p->pad_h,
                                   .left = p->pad_w},
                          .to = {.images = p->n, .channels = p->k, .h = p->oh, .w = p->ow}, .taps = (int)p->r,
                          .w_out = cin * area, .w_in = area, .w_group = cout * cin * area, .y = y, .x = x, .w = w, .bias = b};
        return FN(winograd_run)(&v);
    }
    FN(tap_conv) v = {.table = FN(cnn_kernels)(), .groups = p->groups, .cin = cin, .cout = cout,
                      .from = {.images = p->n, .channels = p->c, .h = p->h, .w = p->w},
                      .to = {.images = p->n, .channels = p->k, .h = p->oh, .w = p->ow},
                      .row = {p->oh, p->h, p->r, p->stride_h, p->pad_h, p->dilation_h, 0},
                      .col = {p->ow, p->w, p->s, p->stride_w, p->pad_w, p->dilation_w, 0},
                      .w_out = cin * area, .w_in = area, .w_group = cout * cin * area,
                      .y = y, .x = x, .w = w, .bias = b};
    return FN(tap_conv_run)(&v);
}

cnn_status FN(cnn_conv2d_grad_x)(REAL *dx, const REAL *dy, const REAL *w, const cnn_conv2d *p) {
    if (!cnn_conv2d_valid(p)) return CNN_BAD_SIZE;
    const ptrdiff_t area = p->r * p->s, cin = p->c / p->groups, cout = p->k / p->groups;
    if (FN(winograd_pays)(p, cout, cin, p->h, p->w)) {
        FN(winograd) v = {.table = FN(cnn_kernels)(), .groups = p->groups, .cin = cout, .cout = cin,
                          .from = {.images = p->n, .channels = p->k, .h = p->oh, .w = p->ow,
                                   .top = p->r - 1 - p->pad_h, .left = p->s - 1 - p->pad_w},
                          .to = {.images = p->n, .channels = p->c, .h = p->h, .w = p->w}, .taps = (int)p->r,
                          .flip = 1, .w_out = area,
                          .w_in = cin * area, .w_group = cout * cin * area, .y = dx, .x = dy, .w = w};
        return FN(winograd_run)(&v);
    }
    FN(tap_conv) v = {.table = FN(cnn_kernels)(), .groups = p->groups, .cin = cout, .cout = cin,
                      .from = {.images = p->n, .channels = p->k, .h = p->oh, .w = p->ow},
                      .to = {.images = p->n, .channels = p->c, .h = p->h, .w = p->w},
                      .row = {p->h, p->oh, p->r, p->stride_h, p->pad_h, p->dilation_h, 1},
                      .col = {p->w, p->ow, p->s, p->stride_w, p->pad_w, p->dilation_w, 1},
                      .w_out = area, .w_in = cin * area, .w_group = cout * cin * area,
                      .y = dx, .x = dy, .w = w};
    return FN(tap_conv_run)(&v);
}
