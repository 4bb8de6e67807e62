# The optimizers' updates: a part of _kernels.pyx.

def sgd_step(real[::1] w, real[::1] v, const real[::1] g, double lr, double momentum, double decay, bint nesterov):
    demand(0 < w.shape[0] == g.shape[0] and (v is None or v.shape[0] == g.shape[0]))
    cdef real *velocity = &v[0] if v is not None else NULL
    with nogil:
        if real is float:
            cnn_sgd_step_f32(&w[0], velocity, &g[0], w.shape[0], lr, momentum, decay, nesterov)
        else:
            cnn_sgd_step_f64(&w[0], velocity, &g[0], w.shape[0], lr, momentum, decay, nesterov)


def adam_step(real[::1] w, real[::1] m, real[::1] v, const real[::1] g, double step, double lr, double beta1, double beta2, double eps, double decay,
              bint decoupled):
    demand(0 < w.shape[0] == g.shape[0] == m.shape[0] == v.shape[0] and step >= 1)
    with nogil:
        if real is float:
            cnn_adam_step_f32(&w[0], &m[0], &v[0], &g[0], w.shape[0], step, lr, beta1, beta2, eps, decay, decoupled)
        else:
            cnn_adam_step_f64(&w[0], &m[0], &v[0], &g[0], w.shape[0], step, lr, beta1, beta2, eps, decay, decoupled)


def rmsprop_step(real[::1] w, real[::1] v, real[::1] m, real[::1] velocity, const real[::1] g, double lr, double alpha, double eps, double decay,
                 double momentum):
    demand(0 < w.shape[0] == g.shape[0] == v.shape[0])
    demand((m is None or m.shape[0] == g.shape[0]) and (velocity is None or velocity.shape[0] == g.shape[0]))
    cdef real *mean = &m[0] if m is not None else NULL
    cdef real *moved = &velocity[0] if velocity is not None else NULL
    with nogil:
        if real is float:
            cnn_rmsprop_step_f32(&w[0], &v[0], mean, moved, &g[0], w.shape[0], lr, alpha, eps, decay, momentum)
        else:
            cnn_rmsprop_step_f64(&w[0], &v[0], mean, moved, &g[0], w.shape[0], lr, alpha, eps, decay, momentum)


def adagrad_step(real[::1] w, real[::1] total, const real[::1] g, double step, double lr, double lr_decay, double eps, double decay):
    demand(0 < w.shape[0] == g.shape[0] == total.shape[0] and step >= 1)
    with nogil:
        if real is float:
            cnn_adagrad_step_f32(&w[0], &total[0], &g[0], w.shape[0], step, lr, lr_decay, eps, decay)
        else:
            cnn_adagrad_step_f64(&w[0], &total[0], &g[0], w.shape[0], step, lr, lr_decay, eps, decay)


def lion_step(real[::1] w, real[::1] m, const real[::1] g, double lr, double beta1, double beta2, double decay):
    demand(0 < w.shape[0] == g.shape[0] == m.shape[0])
    with nogil:
        if real is float:
            cnn_lion_step_f32(&w[0], &m[0], &g[0], w.shape[0], lr, beta1, beta2, decay)
        else:
            cnn_lion_step_f64(&w[0], &m[0], &g[0], w.shape[0], lr, beta1, beta2, decay)
