"""Binding of csrc/cnn.h: typed views in, sizes checked, one call without the GIL, status to exception.

Every array function exists for float32 and float64 and is picked by `function["float"]` or `function["double"]`.
Outputs first, then inputs, as in cnn.h. Friendly messages are cnnlib.functional's task; what is checked here only
keeps memory safe.
"""

from libc.stdint cimport int64_t, uint64_t, uint8_t

from cnnlib._cnn cimport *

from cnnlib.errors import ConfigError, ShapeError

ctypedef fused real:
    float
    double


cdef int check(cnn_status status) except -1:
    if status == CNN_NO_MEMORY:
        raise MemoryError("no memory for the kernel's workspace")
    if status == CNN_BAD_SIZE:
        raise ShapeError("array sizes do not fit together, a size is not in 1 … 2**30, or padding, stride or kernel are "
                         "too large for any memory")
    return 0


cdef int demand(bint sizes_agree) except -1:
    return check(CNN_OK if sizes_agree else CNN_BAD_SIZE)


cdef Py_ssize_t lanes_of(Py_ssize_t itemsize):
    """Elements of a vector."""
    return cnn_lanes() if itemsize == 4 else max(1, cnn_lanes() // 2)


cdef int demand_images(const Py_ssize_t *shape, Py_ssize_t itemsize, Py_ssize_t n, Py_ssize_t c, Py_ssize_t h, Py_ssize_t w,
                       bint lanes) except -1:
    """Images N × C × H × W, or in lane layout ⌈N/L⌉ × C × H × W·L."""
    cdef Py_ssize_t L = lanes_of(itemsize) if lanes else 1
    return demand(shape[0] == (n + L - 1) // L and shape[1] == c and shape[2] == h and shape[3] == w * L)


cdef int conv_sizes(cnn_conv2d *p, cnn_conv2d_fusion *f, const Py_ssize_t *y, const Py_ssize_t *x, const Py_ssize_t *w,
                    Py_ssize_t itemsize, tuple options, tuple layout) except -1:
    """Fill p and f and check y, x and w against them. layout: images, outputs' height and width, x_lanes, y_lanes, relu,
    pool, as in cnn_conv2d_fusion."""
    p.stride_h, p.stride_w, p.pad_h, p.pad_w, p.dilation_h, p.dilation_w, p.groups = options
    p.n, p.oh, p.ow, f.x_lanes, f.y_lanes, f.relu, f.pool = layout
    p.c, p.h, p.w = x[1], x[2], x[3] // lanes_of(itemsize) if f.x_lanes else x[3]
    p.k, p.r, p.s = w[0], w[2], w[3]
    demand(p.n > 0 and p.groups > 0 and w[1] * p.groups == p.c)
    demand_images(x, itemsize, p.n, p.c, p.h, p.w, f.x_lanes)
    demand_images(y, itemsize, p.n, p.k, p.oh // 2 if f.pool else p.oh, p.ow // 2 if f.pool else p.ow, f.y_lanes)
    return 0


cdef int demand_winner(const uint8_t[:, :, :, ::1] winner, const cnn_conv2d *p, Py_ssize_t itemsize) except -1:
    if winner is not None:
        demand_images(winner.shape, itemsize, p.n, p.k, p.oh // 2, p.ow // 2, True)
    return 0


# In lane layout the last two axes, width and lanes, are given as one.
cdef cnn_pool2d pool_sizes(const Py_ssize_t *y, const Py_ssize_t *x, Py_ssize_t lanes, tuple options) except *:
    cdef cnn_pool2d p
    (p.kernel_h, p.kernel_w, p.stride_h, p.stride_w, p.pad_h, p.pad_w, p.after_h, p.after_w, p.count_include_pad,
     p.lanes) = options
    cdef Py_ssize_t pixel = lanes if p.lanes else 1
    p.planes, p.h, p.w, p.oh, p.ow = x[0] * x[1], x[2], x[3] // pixel, y[2], y[3] // pixel
    demand(y[0] == x[0] and y[1] == x[1] and p.w * pixel == x[3] and p.ow * pixel == y[3])
    return p


def conv2d_forward(real[:, :, :, ::1] y, uint8_t[:, :, :, ::1] winner, const real[:, :, :, ::1] x,
                   const real[:, :, :, ::1] w, const real[::1] b, const real[::1] scale, tuple options, tuple layout):
    cdef cnn_conv2d p
    cdef cnn_conv2d_fusion f
    conv_sizes(&p, &f, y.shape, x.shape, w.shape, sizeof(real), options, layout)
    demand((b is None or b.shape[0] == p.k) and (scale is None or scale.shape[0] == p.k))
    demand_winner(winner, &p, sizeof(real))
    cdef const real *bias = &b[0] if b is not None else NULL
    cdef const real *factors = &scale[0] if scale is not None else NULL
    cdef uint8_t *places = &winner[0, 0, 0, 0] if winner is not None else NULL
    cdef cnn_status status
    with nogil:
        if real is float:
            status = cnn_conv2d_forward_f32(&y[0, 0, 0, 0], places, &x[0, 0, 0, 0], &w[0, 0, 0, 0], bias, factors, &p, &f)
        else:
            status = cnn_conv2d_forward_f64(&y[0, 0, 0, 0], places, &x[0, 0, 0, 0], &w[0, 0, 0, 0], bias, factors, &p, &f)
    check(status)


def conv2d_backward(real[:, :, :, ::1] dx, real[:, :, :, ::1] dw, real[::1] db, const real[:, :, :, ::1] dy,
                    const real[:, :, :, ::1] y, const uint8_t[:, :, :, ::1] winner, const real[:, :, :, ::1] x,
                    const real[:, :, :, ::1] w, tuple options, tuple layout):
    cdef cnn_conv2d p
    cdef cnn_conv2d_fusion f
    conv_sizes(&p, &f, dy.shape, x.shape, w.shape, sizeof(real), options, layout)
    if dx is not None:
        demand_images(dx.shape, sizeof(real), p.n, p.c, p.h, p.w, f.x_lanes)
    demand(dw is None or (dw.shape[0] == p.k and dw.shape[1] == w.shape[1] and dw.shape[2] == p.r and dw.shape[3] == p.s))
    demand(db is None or db.shape[0] == p.k)
    if y is not None:
        demand(y.shape[0] == dy.shape[0] and y.shape[1] == p.k and y.shape[2] == dy.shape[2] and y.shape[3] == dy.shape[3])
    demand_winner(winner, &p, sizeof(real))
    cdef real *to_x = &dx[0, 0, 0, 0] if dx is not None else NULL
    cdef real *to_w = &dw[0, 0, 0, 0] if dw is not None else NULL
    cdef real *to_b = &db[0] if db is not None else NULL
    cdef const real *output = &y[0, 0, 0, 0] if y is not None else NULL
    cdef const uint8_t *places = &winner[0, 0, 0, 0] if winner is not None else NULL
    cdef cnn_status status
    with nogil:
        if real is float:
            status = cnn_conv2d_backward_f32(to_x, to_w, to_b, &dy[0, 0, 0, 0], output, places, &x[0, 0, 0, 0],
                                             &w[0, 0, 0, 0], &p, &f)
        else:
            status = cnn_conv2d_backward_f64(to_x, to_w, to_b, &dy[0, 0, 0, 0], output, places, &x[0, 0, 0, 0],
                                             &w[0, 0, 0, 0], &p, &f)
    check(status)


def conv2d_way(tuple x, tuple w, tuple options, tuple layout, bint gradient):
    """How a convolution of arrays of these shapes is computed."""
    cdef Py_ssize_t[4] x_shape = x, w_shape = w
    cdef cnn_conv2d p
    cdef cnn_conv2d_fusion f
    cdef Py_ssize_t[4] y_shape = [x[0], w[0], layout[1], layout[2]]
    conv_sizes(&p, &f, y_shape, x_shape, w_shape, 4, options, (*layout[:3], 0, 0, 0, 0))
    f.x_lanes, f.y_lanes, f.relu, f.pool = layout[3:]
    return cnn_conv2d_way_f32(&p, &f, gradient).decode()


cdef int demand_lanes(Py_ssize_t lanes, Py_ssize_t n, Py_ssize_t size, Py_ssize_t itemsize) except -1:
    cdef Py_ssize_t L = lanes_of(itemsize)
    return demand(n > 0 and lanes == (n + L - 1) // L * L * size)


def to_lanes(real[::1] y, const real[:, ::1] x):
    demand_lanes(y.shape[0], x.shape[0], x.shape[1], sizeof(real))
    cdef cnn_status status
    with nogil:
        if real is float:
            status = cnn_to_lanes_f32(&y[0], &x[0, 0], x.shape[0], x.shape[1])
        else:
            status = cnn_to_lanes_f64(&y[0], &x[0, 0], x.shape[0], x.shape[1])
    check(status)


def from_lanes(real[:, ::1] x, const real[::1] y):
    demand_lanes(y.shape[0], x.shape[0], x.shape[1], sizeof(real))
    cdef cnn_status status
    with nogil:
        if real is float:
            status = cnn_from_lanes_f32(&x[0, 0], &y[0], x.shape[0], x.shape[1])
        else:
            status = cnn_from_lanes_f64(&x[0, 0], &y[0], x.shape[0], x.shape[1])
    check(status)


cdef int demand_winners(const uint8_t[::1] at, const cnn_pool2d *p, Py_ssize_t L) except -1:
    """One byte an output of planes in groups of L, in lane layout as in NCHW."""
    return demand(at is None or at.shape[0] == (p.planes if p.lanes else (p.planes + L - 1) // L) * L * p.oh * p.ow)


def max_pool2d_forward(real[:, :, :, ::1] y, uint8_t[::1] at, const real[:, :, :, ::1] x, tuple options):
    cdef cnn_pool2d p = pool_sizes(y.shape, x.shape, lanes_of(sizeof(real)), options)
    demand_winners(at, &p, lanes_of(sizeof(real)))
    cdef uint8_t *winners = &at[0] if at is not None else NULL
    cdef cnn_status status
    with nogil:
        if real is float:
            status = cnn_max_pool2d_forward_f32(&y[0, 0, 0, 0], winners, &x[0, 0, 0, 0], &p)
        else:
            status = cnn_max_pool2d_forward_f64(&y[0, 0, 0, 0], winners, &x[0, 0, 0, 0], &p)
    check(status)


def max_pool2d_grad(real[:, :, :, ::1] dx, const real[:, :, :, ::1] dy, const real[:, :, :, ::1] x, const uint8_t[::1] at,
                    tuple options):
    cdef cnn_pool2d p = pool_sizes(dy.shape, dx.shape, lanes_of(sizeof(real)), options)
    demand_winners(at, &p, lanes_of(sizeof(real)))
    for i in range(4):
        demand(x is None or x.shape[i] == dx.shape[i])
    cdef const real *input = &x[0, 0, 0, 0] if x is not None else NULL
    cdef const uint8_t *winners = &at[0] if at is not None else NULL
    cdef cnn_status status
    with nogil:
        if real is float:
            status = cnn_max_pool2d_grad_f32(&dx[0, 0, 0, 0], &dy[0, 0, 0, 0], input, winners, &p)
        else:
            status = cnn_max_pool2d_grad_f64(&dx[0, 0, 0, 0], &dy[0, 0, 0, 0], input, winners, &p)
    check(status)


def avg_pool2d_forward(real[:, :, :, ::1] y, const real[:, :, :, ::1] x, tuple options):
    cdef cnn_pool2d p = pool_sizes(y.shape, x.shape, lanes_of(sizeof(real)), options)
    cdef cnn_status status
    with nogil:
        if real is float:
            status = cnn_avg_pool2d_forward_f32(&y[0, 0, 0, 0], &x[0, 0, 0, 0], &p)
        else:
            status = cnn_avg_pool2d_forward_f64(&y[0, 0, 0, 0], &x[0, 0, 0, 0], &p)
    check(status)


def avg_pool2d_grad(real[:, :, :, ::1] dx, const real[:, :, :, ::1] dy, tuple options):
    cdef cnn_pool2d p = pool_sizes(dy.shape, dx.shape, lanes_of(sizeof(real)), options)
    cdef cnn_status status
    with nogil:
        if real is float:
            status = cnn_avg_pool2d_grad_f32(&dx[0, 0, 0, 0], &dy[0, 0, 0, 0], &p)
        else:
            status = cnn_avg_pool2d_grad_f64(&dx[0, 0, 0, 0], &dy[0, 0, 0, 0], &p)
    check(status)


cdef cnn_linear linear_sizes(const Py_ssize_t *w, tuple options) except *:
    cdef cnn_linear p
    p.n, p.x_lanes, p.y_lanes, p.relu = options
    p.outputs, p.inputs = w[0], w[1]
    demand(0 < p.n < (1 << 30))
    return p


cdef bint fits(ptrdiff_t size, ptrdiff_t n, ptrdiff_t features, int lanes) noexcept:
    """Whether an array holds n rows, or, with lanes, groups of as many samples."""
    return size == features * ((n + lanes - 1) // lanes * lanes if lanes else n)


def linear_forward(real[::1] y, const real[::1] x, const real[:, ::1] w, const real[::1] b, tuple options):
    """`options`: n, whether x and y lie in lanes, whether y is rectified."""
    cdef cnn_linear p = linear_sizes(w.shape, options)
    cdef int lanes = lanes_of(sizeof(real))
    demand(fits(y.shape[0], p.n, p.outputs, lanes if p.y_lanes else 0))
    demand(fits(x.shape[0], p.n, p.inputs, lanes if p.x_lanes else 0) and (b is None or b.shape[0] == p.outputs))
    cdef const real *bias = &b[0] if b is not None else NULL
    cdef cnn_status status
    with nogil:
        if real is float:
            status = cnn_linear_forward_f32(&y[0], &x[0], &w[0, 0], bias, &p)
        else:
            status = cnn_linear_forward_f64(&y[0], &x[0], &w[0, 0], bias, &p)
    check(status)


def linear_backward(real[::1] dx, real[:, ::1] dw, real[::1] db, const real[::1] dy, const real[::1] x,
                    const real[:, ::1] w, const real[::1] y, tuple options, tuple state=None, tuple update=None):
    """`options` as in linear_forward; dx, dw, db, and y if it was not rectified, may be None. With an update, the fields
    of cnn_update in their order, `state` is w itself and the optimizer's arrays, three in all; returns False if the
    update is to check the gradient, and it is not finite."""
    cdef cnn_linear p = linear_sizes(w.shape, options)
    cdef int lanes = lanes_of(sizeof(real))
    cdef real[:, ::1] array
    cdef real *states[3]
    cdef cnn_update u
    cdef int i
    demand(fits(dy.shape[0], p.n, p.outputs, lanes if p.y_lanes else 0) and (
        not p.relu or (y is not None and y.shape[0] == dy.shape[0])))
    demand(fits(x.shape[0], p.n, p.inputs, lanes if p.x_lanes else 0) and (dx is None or dx.shape[0] == x.shape[0]))
    demand(dw is None or (dw.shape[0] == p.outputs and dw.shape[1] == p.inputs))
    demand(db is None or db.shape[0] == p.outputs)
    if update is not None:
        demand(state is not None and len(state) == 3)
        u.check, u.adam, u.nesterov, u.decoupled, u.lr, u.decay, u.momentum, u.step, u.beta1, u.beta2, u.eps = update
        for i in range(3):
            array = state[i]
            demand(array is None or (array.shape[0] == p.outputs and array.shape[1] == p.inputs))
            states[i] = &array[0, 0] if array is not None else NULL
        demand(states[0] == &w[0, 0] and not (u.adam and (states[1] == NULL or states[2] == NULL)))
    cdef real *grad_x = &dx[0] if dx is not None else NULL
    cdef real *grad_w = &dw[0, 0] if dw is not None else NULL
    cdef real *grad_b = &db[0] if db is not None else NULL
    cdef const real *mask = &y[0] if p.relu else NULL
    cdef const cnn_update *step = &u if update is not None else NULL
    cdef cnn_status status
    with nogil:
        if real is float:
            status = cnn_linear_backward_f32(grad_x, grad_w, grad_b, &dy[0], &x[0], &w[0, 0], mask, states, step, &p)
        else:
            status = cnn_linear_backward_f64(grad_x, grad_w, grad_b, &dy[0], &x[0], &w[0, 0], mask, states, step, &p)
    if status == CNN_NOT_FINITE:
        return False
    check(status)
    return True


ADD, SUBTRACT, MULTIPLY, DIVIDE = CNN_ADD, CNN_SUBTRACT, CNN_MULTIPLY, CNN_DIVIDE


def arithmetic(real[::1] y, const real[::1] a, const real[::1] b, int operation):
    demand(0 < y.shape[0] == a.shape[0] == b.shape[0] and 0 <= operation <= <int>CNN_DIVIDE)
    with nogil:
        if real is float:
            cnn_arithmetic_f32(&y[0], &a[0], &b[0], y.shape[0], <cnn_operation>operation)
        else:
            cnn_arithmetic_f64(&y[0], &a[0], &b[0], y.shape[0], <cnn_operation>operation)


def divide_grad_b(real[::1] db, const real[::1] dy, const real[::1] b, const real[::1] y):
    demand(0 < db.shape[0] == dy.shape[0] == b.shape[0] == y.shape[0])
    with nogil:
        if real is float:
            cnn_divide_grad_b_f32(&db[0], &dy[0], &b[0], &y[0], db.shape[0])
        else:
            cnn_divide_grad_b_f64(&db[0], &dy[0], &b[0], &y[0], db.shape[0])


def affine(real[::1] y, const real[::1] x, double scale, double offset):
    demand(0 < y.shape[0] == x.shape[0])
    with nogil:
        if real is float:
            cnn_affine_f32(&y[0], &x[0], y.shape[0], scale, offset)
        else:
            cnn_affine_f64(&y[0], &x[0], y.shape[0], scale, offset)


def reciprocal(real[::1] y, const real[::1] x, double numerator):
    demand(0 < y.shape[0] == x.shape[0])
    with nogil:
        if real is float:
            cnn_reciprocal_f32(&y[0], &x[0], y.shape[0], numerator)
        else:
            cnn_reciprocal_f64(&y[0], &x[0], y.shape[0], numerator)


def relu_forward(real[::1] y, const real[::1] x):
    demand(0 < y.shape[0] == x.shape[0])
    with nogil:
        if real is float:
            cnn_relu_forward_f32(&y[0], &x[0], y.shape[0])
        else:
            cnn_relu_forward_f64(&y[0], &x[0], y.shape[0])


def relu_grad(real[::1] dx, const real[::1] dy, const real[::1] x):
    demand(0 < dx.shape[0] == dy.shape[0] == x.shape[0])
    with nogil:
        if real is float:
            cnn_relu_grad_f32(&dx[0], &dy[0], &x[0], dx.shape[0])
        else:
            cnn_relu_grad_f64(&dx[0], &dy[0], &x[0], dx.shape[0])


ELU, GELU, GELU_TANH, HARDSIGMOID, HARDSWISH = CNN_ELU, CNN_GELU, CNN_GELU_TANH, CNN_HARDSIGMOID, CNN_HARDSWISH
HARDTANH, LEAKY_RELU, MISH, SIGMOID, SILU = CNN_HARDTANH, CNN_LEAKY_RELU, CNN_MISH, CNN_SIGMOID, CNN_SILU
SOFTPLUS, SOFTSIGN, TANH = CNN_SOFTPLUS, CNN_SOFTSIGN, CNN_TANH


def activation(real[::1] y, const real[::1] dy, const real[::1] x, int kind, double a, double b):
    demand(0 < y.shape[0] == x.shape[0] and (dy is None or dy.shape[0] == x.shape[0]) and 0 <= kind <= <int>CNN_TANH)
    cdef const real *grad_y = &dy[0] if dy is not None else NULL
    with nogil:
        if real is float:
            cnn_activation_f32(&y[0], grad_y, &x[0], y.shape[0], <cnn_activation>kind, a, b)
        else:
            cnn_activation_f64(&y[0], grad_y, &x[0], y.shape[0], <cnn_activation>kind, a, b)


cdef bint alike(const Py_ssize_t *a, const Py_ssize_t *b) noexcept:
    return 0 < a[0] == b[0] and 0 < a[1] == b[1] and 0 < a[2] == b[2]


def prelu_forward(real[:, :, ::1] y, const real[:, :, ::1] x, const real[::1] a):
    demand(alike(y.shape, x.shape) and a.shape[0] == x.shape[1])
    cdef cnn_status status
    with nogil:
        if real is float:
            status = cnn_prelu_forward_f32(&y[0, 0, 0], &x[0, 0, 0], &a[0], x.shape[0], x.shape[1], x.shape[2])
        else:
            status = cnn_prelu_forward_f64(&y[0, 0, 0], &x[0, 0, 0], &a[0], x.shape[0], x.shape[1], x.shape[2])
    check(status)


def prelu_grad(real[:, :, ::1] dx, real[::1] da, const real[:, :, ::1] dy, const real[:, :, ::1] x, const real[::1] a):
    demand((dx is None or alike(dx.shape, x.shape)) and alike(dy.shape, x.shape))
    demand(a.shape[0] == x.shape[1] and (da is None or da.shape[0] == x.shape[1]))
    cdef real *grad_x = &dx[0, 0, 0] if dx is not None else NULL
    cdef real *grad_a = &da[0] if da is not None else NULL
    cdef ptrdiff_t n = x.shape[0], c = x.shape[1], m = x.shape[2]
    cdef cnn_status status
    with nogil:
        if real is float:
            status = cnn_prelu_grad_f32(grad_x, grad_a, &dy[0, 0, 0], &x[0, 0, 0], &a[0], n, c, m)
        else:
            status = cnn_prelu_grad_f64(grad_x, grad_a, &dy[0, 0, 0], &x[0, 0, 0], &a[0], n, c, m)
    check(status)


def batch_moments(real[::1] mean, real[::1] var, const real[:, :, ::1] x):
    demand(alike(x.shape, x.shape) and mean.shape[0] == x.shape[1] and var.shape[0] == x.shape[1])
    cdef cnn_status status
    with nogil:
        if real is float:
            status = cnn_batch_moments_f32(&mean[0], &var[0], &x[0, 0, 0], x.shape[0], x.shape[1], x.shape[2])
        else:
            status = cnn_batch_moments_f64(&mean[0], &var[0], &x[0, 0, 0], x.shape[0], x.shape[1], x.shape[2])
    check(status)


def batch_norm_forward(real[:, :, ::1] y, const real[:, :, ::1] x, const real[::1] mean, const real[::1] var,
                       const real[::1] w, const real[::1] b, double eps, bint relu):
    cdef ptrdiff_t n = x.shape[0], c = x.shape[1], m = x.shape[2]
    demand(alike(y.shape, x.shape) and mean.shape[0] == c and var.shape[0] == c)
    demand((w is None or w.shape[0] == c) and (b is None or b.shape[0] == c))
    cdef const real *weight = &w[0] if w is not None else NULL
    cdef const real *bias = &b[0] if b is not None else NULL
    cdef cnn_status status
    with nogil:
        if real is float:
            status = cnn_batch_norm_forward_f32(&y[0, 0, 0], &x[0, 0, 0], &mean[0], &var[0], weight, bias, n, c, m, eps,
                                                relu)
        else:
            status = cnn_batch_norm_forward_f64(&y[0, 0, 0], &x[0, 0, 0], &mean[0], &var[0], weight, bias, n, c, m, eps,
                                                relu)
    check(status)


def batch_norm_grad(real[:, :, ::1] dx, real[::1] dw, real[::1] db, const real[:, :, ::1] dy, const real[:, :, ::1] x,
                    const real[::1] mean, const real[::1] var, const real[::1] w, const real[::1] b, double eps, bint relu):
    cdef ptrdiff_t n = x.shape[0], c = x.shape[1], m = x.shape[2]
    demand((dx is None or alike(dx.shape, x.shape)) and alike(dy.shape, x.shape) and mean.shape[0] == c == var.shape[0])
    demand(dw.shape[0] == c == db.shape[0] and (w is None or w.shape[0] == c) and (b is None or b.shape[0] == c))
    cdef real *grad_x = &dx[0, 0, 0] if dx is not None else NULL
    cdef const real *weight = &w[0] if w is not None else NULL
    cdef const real *bias = &b[0] if b is not None else NULL
    cdef cnn_status status
    with nogil:
        if real is float:
            status = cnn_batch_norm_grad_f32(grad_x, &dw[0], &db[0], &dy[0, 0, 0], &x[0, 0, 0], &mean[0], &var[0], weight,
                                             bias, n, c, m, eps, relu)
        else:
            status = cnn_batch_norm_grad_f64(grad_x, &dw[0], &db[0], &dy[0, 0, 0], &x[0, 0, 0], &mean[0], &var[0], weight,
                                             bias, n, c, m, eps, relu)
    check(status)


def local_response(real[:, :, ::1] y, real[:, :, ::1] t, const real[:, :, ::1] dy, const real[:, :, ::1] x, tuple options):
    cdef cnn_response p
    p.before, p.after, p.scale, p.beta, p.k = options
    cdef ptrdiff_t n = x.shape[0], c = x.shape[1], m = x.shape[2]
    demand(0 <= p.before < (1 << 30) and 0 <= p.after < (1 << 30) and alike(y.shape, x.shape))
    demand(dy is None or (t is not None and alike(t.shape, x.shape) and alike(dy.shape, x.shape)))
    cdef const real *grad_y = &dy[0, 0, 0] if dy is not None else NULL
    cdef real *terms = &t[0, 0, 0] if dy is not None else NULL
    with nogil:
        if real is float:
            cnn_local_response_f32(&y[0, 0, 0], terms, grad_y, &x[0, 0, 0], n, c, m, &p)
        else:
            cnn_local_response_f64(&y[0, 0, 0], terms, grad_y, &x[0, 0, 0], n, c, m, &p)


def softmax_forward(real[:, ::1] y, const real[:, ::1] x, bint log):
    demand(0 < y.shape[0] == x.shape[0] and 0 < y.shape[1] == x.shape[1])
    with nogil:
        if real is float:
            cnn_softmax_forward_f32(&y[0, 0], &x[0, 0], y.shape[0], y.shape[1], log)
        else:
            cnn_softmax_forward_f64(&y[0, 0], &x[0, 0], y.shape[0], y.shape[1], log)


def softmax_grad(real[:, ::1] dx, const real[:, ::1] dy, const real[:, ::1] y, bint log):
    demand(0 < dx.shape[0] == dy.shape[0] and 0 < dx.shape[1] == dy.shape[1])
    demand(0 < dx.shape[0] == y.shape[0] and 0 < dx.shape[1] == y.shape[1])
    with nogil:
        if real is float:
            cnn_softmax_grad_f32(&dx[0, 0], &dy[0, 0], &y[0, 0], dx.shape[0], dx.shape[1], log)
        else:
            cnn_softmax_grad_f64(&dx[0, 0], &dy[0, 0], &y[0, 0], dx.shape[0], dx.shape[1], log)


def cross_entropy(real[:, ::1] dx, const real[:, ::1] x, const int64_t[::1] labels, const real[:, ::1] target):
    """Labels must lie in [0, classes): cnnlib.functional checks them. Returns the loss."""
    cdef double value = 0
    cdef const int64_t *chosen = NULL
    cdef const real *soft = NULL
    demand(0 < dx.shape[0] == x.shape[0] and 0 < dx.shape[1] == x.shape[1] and (labels is None) != (target is None))
    if labels is not None:
        demand(labels.shape[0] == dx.shape[0])
        chosen = &labels[0]
    else:
        demand(target.shape[0] == dx.shape[0] and target.shape[1] == dx.shape[1])
        soft = &target[0, 0]
    cdef cnn_status status
    with nogil:
        if real is float:
            status = cnn_cross_entropy_f32(&value, &dx[0, 0], &x[0, 0], chosen, soft, dx.shape[0], dx.shape[1])
        else:
            status = cnn_cross_entropy_f64(&value, &dx[0, 0], &x[0, 0], chosen, soft, dx.shape[0], dx.shape[1])
    check(status)
    return value


def dropout(real[:, ::1] y, const real[:, ::1] x, double p, uint64_t seed):
    demand(0 < y.shape[0] == x.shape[0] and 0 < y.shape[1] == x.shape[1])
    cdef cnn_status status
    with nogil:
        if real is float:
            status = cnn_dropout_f32(&y[0, 0], &x[0, 0], x.shape[0], x.shape[1], p, seed)
        else:
            status = cnn_dropout_f64(&y[0, 0], &x[0, 0], x.shape[0], x.shape[1], p, seed)
    check(status)


SQUARED, ABSOLUTE, BINARY, BINARY_LOGITS = CNN_SQUARED, CNN_ABSOLUTE, CNN_BINARY, CNN_BINARY_LOGITS


def loss(real[::1] dx, const real[::1] x, const real[::1] target, ptrdiff_t n, int kind):
    """Returns the sum of the costs over n."""
    demand(0 < dx.shape[0] == x.shape[0] == target.shape[0] and 0 <= kind <= <int>CNN_BINARY_LOGITS)
    cdef double value = 0
    cdef cnn_status status
    with nogil:
        if real is float:
            status = cnn_loss_f32(&value, &dx[0], &x[0], &target[0], n, dx.shape[0], <cnn_loss>kind)
        else:
            status = cnn_loss_f64(&value, &dx[0], &x[0], &target[0], n, dx.shape[0], <cnn_loss>kind)
    check(status)
    return value


def all_finite(const real[::1] x):
    cdef bint finite
    demand(0 < x.shape[0])
    with nogil:
        if real is float:
            finite = cnn_all_finite_f32(&x[0], x.shape[0])
        else:
            finite = cnn_all_finite_f64(&x[0], x.shape[0])
    return finite


include "_updates.pxi"


include "_warp.pxi"


cdef tuple names(const char *const *list):
    found = []
    while list[0]:
        found.append(list[0].decode())
        list += 1
    return tuple(found)


def isa_built():
    """Instruction sets compiled in, best first."""
    return names(cnn_isa_built())


def isa_supported():
    """Those of them that this processor has, best first."""
    return names(cnn_isa_supported())


def isa_active():
    """The one in use."""
    return cnn_isa_active().decode()


def set_isa(str name):
    """Use another instruction set, process-wide; not while other threads run kernels."""
    if cnn_set_isa(name.encode()) != 0:
        known = name in isa_built()
        raise ConfigError(
            f"instruction set {name!r} is {'not supported by this processor' if known else 'not in this build'}: "
            f"use one of {', '.join(isa_supported())}"
        )


def set_algorithm(str name):
    """Compute convolutions by another algorithm, process-wide; not while other threads run kernels."""
    if cnn_set_algorithm(name.encode()) != 0:
        raise ConfigError(f"algorithm {name!r} is unknown: use 'accurate', 'direct' or 'fast'")


def get_algorithm():
    """The algorithm in use."""
    return cnn_get_algorithm().decode()


def lanes():
    """Elements of a float32 vector in use."""
    return cnn_lanes()


def set_num_threads(int threads):
    """Upper bound of threads per call."""
    cnn_set_threads(threads)


def get_num_threads():
    """Threads that a large call uses."""
    return cnn_get_threads()


def compiler():
    """Name and version of the C compiler."""
    return cnn_compiler().decode()


def fma_peak(ptrdiff_t n, bint double_precision=False):
    """Run the multiply-adds of the peak measurement; returns the number of floating-point operations."""
    cdef double flops
    with nogil:
        flops = cnn_fma_peak_f64(n) if double_precision else cnn_fma_peak_f32(n)
    return flops


def release_workspace():
    """Free the calling thread's scratch memory."""
    cnn_release_workspace()
