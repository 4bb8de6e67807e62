/* cnn.h: the C contract.
 *
 * Arrays are C-contiguous. x: input, w: weight, b: bias, y: output; dx, dw, db, dy: their gradients.
 *   images  x [n][c][h][w]     weights [k][c/groups][r][s]     outputs y [n][k][oh][ow]
 * Lane layout, L = cnn_lanes() for float and half of it for double: images [n/L, rounded up][c][h][w][L], vectors
 * [n/L, rounded up][features][L]. What lies in lanes past the last image is any finite number in a value, 0 in a gradient.
 * Argument order: outputs, inputs, parameters, sizes, options. Lengths count elements.
 * Every function of CNN_DECLARE has an instance for float and one for double: name_f32, name_f64.
 *
 * Common to all functions unless its comment says otherwise:
 *   overwrite   outputs are overwritten, whatever they held (NaN, too)
 *   aliasing    no output overlaps any other argument
 *   workspace   taken from the calling thread's arena, which keeps its largest size until the thread ends or
 *               cnn_release_workspace is called
 *   threads     as set by cnn_set_threads; small work runs on one. No sum's order depends on their number.
 *   status      CNN_OK, CNN_NO_MEMORY, or CNN_BAD_SIZE if a size is not positive where it must be or the output's
 *               sizes do not follow from the input's; nothing was written then
 *   errors      never aborts, never raises a signal; NaN and infinities are ordinary numbers */
#ifndef CNN_H
#define CNN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum { CNN_OK = 0, CNN_NO_MEMORY = 1, CNN_BAD_SIZE = 2, CNN_NOT_FINITE = 3 } cnn_status;

/* ---- machine and settings --------------------------------------------------------------------------------- */

/* Names of the instruction sets, best first, NULL at the end: those compiled in, and those of them that this CPU has. */
const char *const *cnn_isa_built(void);
const char *const *cnn_isa_supported(void);
/* The one in use: the best supported unless cnn_set_isa chose another. */
const char *cnn_isa_active(void);
/* Returns 0, or -1 if `name` is not in cnn_isa_supported(). Process-wide; not while other threads run kernels. */
int cnn_set_isa(const char *name);
/* Elements of a vector of the active instruction set, for float. */
int cnn_lanes(void);

/* Upper bound of threads per call, 1 ... CNN_MOST_THREADS; a forked child has its parent's. */
#define CNN_MOST_THREADS 1024
void cnn_set_threads(int threads);
int cnn_get_threads(void);
const char *cnn_compiler(void);

void cnn_release_workspace(void);

/* How convolutions are computed: "direct", a plain sum; "accurate" (default), by Winograd's tiles where that is less work
 * and as accurate. cnn_set_algorithm returns 0, or -1 for another name. Process-wide, as cnn_set_isa. */
int cnn_set_algorithm(const char *name);
const char *cnn_get_algorithm(void);

/* ---- convolution ------------------------------------------------------------------------------------------ */

typedef struct {
    ptrdiff_t n, c, h, w;     /* input */
    ptrdiff_t k, r, s;        /* output channels, kernel height and width */
    ptrdiff_t oh, ow;         /* output height and width */
    ptrdiff_t stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, groups;
} cnn_conv2d;
/* pad_h, pad_w: zeros above and to the left. Below and to the right there are as many as oh and ow call for, which
 * may be at most (h + 2 pad_h - dilation_h (r - 1) - 1)/stride_h + 1, and likewise in width. */

/* What follows a convolution in the same pass, and how its arrays lie; all 0: nothing, and NCHW. */
typedef struct {
    int x_lanes, y_lanes; /* x and dx, y and dy, are in lane layout */
    int relu;             /* y = max(y, 0), NaN stays NaN */
    int pool;             /* then the maxima of 2 x 2 windows at stride 2: y is [n][k][oh/2][ow/2], rounded down */
} cnn_conv2d_fusion;

typedef struct {
    ptrdiff_t planes, h, w, oh, ow; /* planes: n * c */
    ptrdiff_t kernel_h, kernel_w, stride_h, stride_w;
    ptrdiff_t pad_h, pad_w, after_h, after_w; /* above and to the left; below and to the right */
    int count_include_pad;
    int lanes; /* lane layout (docs/kernels.md): each plane is L planes side by side, L as of the active instruction set */
} cnn_pool2d;
/* Every window meets the plane: pad < kernel, and the last begins inside, (oh - 1) stride_h - pad_h < h; beyond that, oh
 * and ow are the caller's choice. Padding is never the largest, and adds nothing to a sum. count_include_pad: an average
 * counts the positions that lie in the plane or its padding, which is all that after_h and after_w are for; else those
 * in the plane. */

typedef struct {
    ptrdiff_t n, outputs, inputs;
    int x_lanes, y_lanes; /* x and dx, y and dy, are in lane layout, not [n][features] */
    int relu;             /* y = max(y, 0), NaN stays NaN */
} cnn_linear;

/* The step of an optimizer: cnn_adam_step's numbers where adam is set, else cnn_sgd_step's. */
typedef struct {
    int check; /* leave rows of w alone whose gradient is not finite, and return CNN_NOT_FINITE then */
    int adam, nesterov, decoupled;
    double lr, decay, momentum, step, beta1, beta2, eps;
} cnn_update;

typedef enum { CNN_ADD, CNN_SUBTRACT, CNN_MULTIPLY, CNN_DIVIDE } cnn_operation;

typedef enum { CNN_U8, CNN_F32, CNN_F64 } cnn_element;

typedef struct {
    ptrdiff_t n, c, h, w, oh, ow; /* images, and the outputs' height and width */
    double fill;                  /* what lies around an image; 0 ... 255 for bytes */
} cnn_warp;

typedef enum { CNN_SQUARED, CNN_ABSOLUTE, CNN_BINARY, CNN_BINARY_LOGITS } cnn_loss;

/* Functions f(x) of one number, with parameters a and b. Slopes at a kink: see each. */
typedef enum {
    CNN_ELU,         /* b x where x > 0, else a (e^x - 1); the slope at 0 is a */
    CNN_GELU,        /* x Phi(x), Phi being the normal distribution */
    CNN_GELU_TANH,   /* x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) / 2 */
    CNN_HARDSIGMOID, /* min(max(a x + b, 0), 1), flat at the kinks */
    CNN_HARDSWISH,   /* x min(max(x + 3, 0), 6) / 6; the slope is 0 at -3, 1 at 3 */
    CNN_HARDTANH,    /* min(max(x, a), b), flat at a and b */
    CNN_LEAKY_RELU,  /* x where x > 0, else a x; the slope at 0 is a */
    CNN_MISH,        /* x tanh(log(1 + e^x)) */
    CNN_SIGMOID,     /* 1/(1 + e^-x), 0 below the normal numbers */
    CNN_SILU,        /* x/(1 + e^-x) */
    CNN_SOFTPLUS,    /* log(1 + e^(a x))/a, x where a x > b */
    CNN_SOFTSIGN,    /* x/(1 + |x|) */
    CNN_TANH,
} cnn_activation;

/* A window of channels, and what local response normalisation makes of the sum of squares in it. */
typedef struct {
    ptrdiff_t before, after;
    double scale, beta, k;
} cnn_response;

#define CNN_DECLARE(R, T)                                                                                           \
    /* y[n,k,p,q] = b[k] + scale[k] * sum over c,r,s: w[k,c,r,s] * x[n, c, p*stride_h + r*dilation_h - pad_h, ...]  \
     * c runs over the k's group; outside the image x is 0; b (0) and scale (1) may be NULL. Then what `f` says. winner, \
     * where not NULL: for each y after pooling, in lane layout, its place 0 ... 3 in the 2 x 2 window, row by row, 255 \
     * where ReLU shut it off; the first maximum, or the last NaN. */                                               \
    cnn_status cnn_conv2d_forward_##T(R *y, uint8_t *winner, const R *x, const R *w, const R *b, const R *scale,    \
                                      const cnn_conv2d *p, const cnn_conv2d_fusion *f);                             \
    /* How forward, or with `gradient` the input gradient, is computed: "depthwise", in Winograd's "tiles 6×6", "tiles 7×7" \
     * or "tiles 8×8", as a product with x "unfolded", directly with columns in lanes, "pixels", or images, "direct". */ \
    const char *cnn_conv2d_way_##T(const cnn_conv2d *p, const cnn_conv2d_fusion *f, int gradient);                  \
    /* With dy the gradient of forward's y and g that of the sum before ReLU and pooling, which is dy or is found from dy \
     * and `winner` (with pooling) or y (ReLU alone; y is not read otherwise and may be NULL):                      \
     * dx[n,c,i,j] = sum over k,r,s and the p,q that read x[n,c,i,j]: w[k,c,r,s] * g[n,k,p,q]                       \
     * dw[k,c,r,s] = sum over n,p,q: g[n,k,p,q] * x[n, c, p*stride_h + r*dilation_h - pad_h, ...]                   \
     * db[k] = sum over n,p,q: g[n,k,p,q].   Each of the three may be NULL. */                                      \
    cnn_status cnn_conv2d_backward_##T(R *dx, R *dw, R *db, const R *dy, const R *y, const uint8_t *winner, const R *x, \
                                       const R *w, const cnn_conv2d *p, const cnn_conv2d_fusion *f);                \
                                                                                                                    \
    /* y = x, n samples of `size` numbers each, in lane layout: y [n/L, rounded up][size][L], 0 in lanes past the last. */ \
    cnn_status cnn_to_lanes_##T(R *y, const R *x, ptrdiff_t n, ptrdiff_t size);                                     \
    /* x = y, back again; lanes past the last sample are not looked at. */                                          \
    cnn_status cnn_from_lanes_##T(R *x, const R *y, ptrdiff_t n, ptrdiff_t size);                                   \
                                                                                                                    \
    /* y = maximum of each window; a NaN in the window wins. at, where not NULL: the winner's position in its window, row \
     * by row, as a byte, L planes side by side: [planes/L, rounded up][oh][ow][L] (in lane layout: in y's places). It must \
     * be NULL where a window has more than 255 pixels (CNN_BAD_SIZE). */                                           \
    cnn_status cnn_max_pool2d_forward_##T(R *y, uint8_t *at, const R *x, const cnn_pool2d *p);                      \
    /* dx: each dy goes to the first maximum of its window (row-major), or to its last NaN; windows add up. By the  \
     * winners in `at`, 255 for none, or, if that is NULL, from x, which may be NULL otherwise. */                  \
    cnn_status cnn_max_pool2d_grad_##T(R *dx, const R *dy, const R *x, const uint8_t *at, const cnn_pool2d *p);     \
    /* y = sum of the window / its area, which counts padding if count_include_pad. */                              \
    cnn_status cnn_avg_pool2d_forward_##T(R *y, const R *x, const cnn_pool2d *p);                                   \
    cnn_status cnn_avg_pool2d_grad_##T(R *dx, const R *dy, const cnn_pool2d *p);                                    \
                                                                                                                    \
    /* y[n,m] = b[m] + sum over k: x[n,k] * w[m,k]; w outputs×inputs, b may be NULL. */                              \
    cnn_status cnn_linear_forward_##T(R *y, const R *x, const R *w, const R *b, const cnn_linear *p);               \
    /* With dz = dy, or, with relu, dz = dy where the output y > 0, else 0:                                         \
     * dx[n,k] = sum over m: dz[n,m] * w[m,k]; dw[m,k] = sum over n: dz[n,m] * x[n,k]; db[m] = sum over n: dz[n,m]  \
     * Each of dx, dw and db may be NULL; y is read with relu only. If update is not NULL, w is then stepped by dw, to\
     * the same bits as by cnn_sgd_step or cnn_adam_step: state is {w, v} or {w, m, v}, their arrays. */            \
    cnn_status cnn_linear_backward_##T(R *dx, R *dw, R *db, const R *dy, const R *x, const R *w, const R *y,        \
                                       R *const state[3], const cnn_update *update, const cnn_linear *p);           \
                                                                                                                    \
    /* y = a + b, a - b, a * b or a / b, element by element; y may be a or b. */                                    \
    void cnn_arithmetic_##T(R *y, const R *a, const R *b, ptrdiff_t size, cnn_operation operation);                 \
    /* db = -(dy / b) * y for the quotient y = a / b (da = dy / b); db may be dy, b or y. */                        \
    void cnn_divide_grad_b_##T(R *db, const R *dy, const R *b, const R *y, ptrdiff_t size);                         \
    /* y = scale * x + offset; y may be x. */                                                                       \
    void cnn_affine_##T(R *y, const R *x, ptrdiff_t size, double scale, double offset);                             \
    /* y = numerator / x; y may be x. */                                                                            \
    void cnn_reciprocal_##T(R *y, const R *x, ptrdiff_t size, double numerator);                                    \
                                                                                                                    \
    /* y = max(x, 0), NaN stays NaN; y may be x. */                                                                 \
    void cnn_relu_forward_##T(R *y, const R *x, ptrdiff_t size);                                                    \
    /* dx = dy where x > 0, else 0; dx may be dy or x; x may be relu's output instead of its input. */              \
    void cnn_relu_grad_##T(R *dx, const R *dy, const R *x, ptrdiff_t size);                                         \
    /* y = f(x), element by element, where f is `kind` with its parameters a and b, or, where dy is not NULL, y = dy *\
     * f'(x), for CNN_SIGMOID and CNN_TANH with the output f(x) as x; y may be x or dy. */                          \
    void cnn_activation_##T(R *y, const R *dy, const R *x, ptrdiff_t size, cnn_activation kind, double a, double b);\
    /* y[n,c,i] = x[n,c,i] where it is > 0, else a[c] * x[n,c,i]; i < m. */                                         \
    cnn_status cnn_prelu_forward_##T(R *y, const R *x, const R *a, ptrdiff_t n, ptrdiff_t c, ptrdiff_t m);          \
    /* dx = dy where x > 0, else a[c] * dy; da[c] = sum over n,i where not x > 0: x * dy. dx or da may be NULL. */  \
    cnn_status cnn_prelu_grad_##T(R *dx, R *da, const R *dy, const R *x, const R *a, ptrdiff_t n, ptrdiff_t c,      \
                                  ptrdiff_t m);                                                                     \
                                                                                                                    \
    /* mean[c] = sum over n,i: x[n,c,i] / (n m); var[c] = sum over n,i: (x[n,c,i] - mean[c])^2 / (n m); i < m */    \
    cnn_status cnn_batch_moments_##T(R *mean, R *var, const R *x, ptrdiff_t n, ptrdiff_t c, ptrdiff_t m);           \
    /* y[n,c,i] = w[c] * (x[n,c,i] - mean[c]) / sqrt(var[c] + eps) + b[c], with relu max(y, 0); w and b may be NULL (1   \
     * and 0); y may be x. */                                                                                       \
    cnn_status cnn_batch_norm_forward_##T(R *y, const R *x, const R *mean, const R *var, const R *w, const R *b,    \
                                          ptrdiff_t n, ptrdiff_t c, ptrdiff_t m, double eps, int relu);             \
    /* Where mean and var are the moments of x itself, h = (x - mean) / sqrt(var + eps) and <> is a channel's mean: \
     * db[c] = sum dy; dw[c] = sum dy * h; dx = w / sqrt(var + eps) * (dy - <dy> - h <dy h>); dx may be NULL. With  \
     * relu, dy counts only where forward's y > 0; b is not read otherwise. */                                      \
    cnn_status cnn_batch_norm_grad_##T(R *dx, R *dw, R *db, const R *dy, const R *x, const R *mean, const R *var,   \
                                       const R *w, const R *b, ptrdiff_t n, ptrdiff_t c, ptrdiff_t m, double eps,   \
                                       int relu);                                                                   \
    /* y[n,c,i] = x[n,c,i] / d[n,c,i]^beta, d[n,c,i] = k + scale * sum over c - before <= j <= c + after, inside the c\
     * channels: x[n,j,i]^2; i < m. k > 0, scale and beta >= 0. Where dy is not NULL, y is the gradient for x instead: y =\
     * dy / d^beta - 2 * scale * beta * x * sum over c - after <= j <= c + before: t[n,j,i], where t, as large as x,\
     * becomes dy * x / d^(beta + 1). */                                                                            \
    void cnn_local_response_##T(R *y, R *t, const R *dy, const R *x, ptrdiff_t n, ptrdiff_t c, ptrdiff_t m,         \
                                const cnn_response *p);                                                             \
    /* y[n,c] = exp(x[n,c] - max) / sum over c, or, with log, its logarithm x - max - log sum; y may be x. */       \
    void cnn_softmax_forward_##T(R *y, const R *x, ptrdiff_t n, ptrdiff_t c, int log);                              \
    /* dx[n,c] = y[n,c] * (dy[n,c] - sum over i: dy[n,i] * y[n,i]); dx may be dy or y. With log, y is the logarithm:\
     * dx[n,c] = dy[n,c] - exp(y[n,c]) * sum over i: dy[n,i]; dx may be y. */                                       \
    void cnn_softmax_grad_##T(R *dx, const R *dy, const R *y, ptrdiff_t n, ptrdiff_t c, int log);                   \
    /* *value = mean over n of -sum over c: target[n,c] * log softmax(x)[n,c]; dx = (softmax(x) * sum target - target) / n. \
     * Either labels (each in [0, c), not checked here) or target (n×c) is given, the other is NULL. dx may be x. */ \
    cnn_status cnn_cross_entropy_##T(double *value, R *dx, const R *x, const int64_t *labels, const R *target,    \
                                     ptrdiff_t n, ptrdiff_t c);                                                     \
    /* y[g,i] = 0 with probability p, else x[g,i] / (1 - p): one decision for each g < groups, by g and seed alone;     \
     * i < group. 0 <= p < 1. y may be x. */                                                                        \
    cnn_status cnn_dropout_##T(R *y, const R *x, ptrdiff_t groups, ptrdiff_t group, double p, uint64_t seed);       \
                                                                                                                    \
    /* *value = sum over the size elements of what x costs against target t / n; dx = the derivative. The cost is           \
     * CNN_SQUARED (x - t)^2 / 2, CNN_ABSOLUTE |x - t| (slope 0 at 0), CNN_BINARY -t log x - (1 - t) log(1 - x), where x    \
     * and 1 - x count as no less than the smallest normal number, or CNN_BINARY_LOGITS, the same of 1/(1 + e^-x). */       \
    cnn_status cnn_loss_##T(double *value, R *dx, const R *x, const R *target, ptrdiff_t n, ptrdiff_t size,         \
                            cnn_loss kind);                                                                         \
                                                                                                                    \
    /* Whether no x is NaN or infinite. */                                                                          \
    int cnn_all_finite_##T(const R *x, ptrdiff_t size);                                                             \
    /* In place on w and v: g' = g + decay*w; v = momentum*v + g'; w -= lr * (nesterov ? g' + momentum*v : v).      \
     * v may be NULL: w -= lr*g'. */                                                                                \
    void cnn_sgd_step_##T(R *w, R *v, const R *g, ptrdiff_t size, double lr, double momentum, double decay,         \
                          int nesterov);                                                                            \
    /* In place on w, m and v: g' = g + decay*w (or, decoupled, w *= 1 - lr*decay); m = beta1*m + (1-beta1)*g';     \
     * v = beta2*v + (1-beta2)*g'^2; w -= lr/(1-beta1^step) * m / (sqrt(v/(1-beta2^step)) + eps). step >= 1. */     \
    void cnn_adam_step_##T(R *w, R *m, R *v, const R *g, ptrdiff_t size, double step, double lr, double beta1,      \
                           double beta2, double eps, double decay, int decoupled);                                  \
    /* In place on w, v, m and velocity: g' = g + decay*w; v = alpha*v + (1-alpha)*g'^2; m = alpha*m + (1-alpha)*g';\
     * s = g' / (sqrt(max(v - m^2, 0)) + eps); velocity = momentum*velocity + s; w -= lr*velocity. m may be NULL: 0;\
     * velocity may be NULL: w -= lr*s. */                                                                          \
    void cnn_rmsprop_step_##T(R *w, R *v, R *m, R *velocity, const R *g, ptrdiff_t size, double lr, double alpha,   \
                              double eps, double decay, double momentum);                                           \
    /* In place on w and sum: g' = g + decay*w; sum += g'^2; w -= lr/(1+(step-1)*lr_decay) * g' / (sqrt(sum) + eps).\
     * step >= 1. */                                                                                                \
    void cnn_adagrad_step_##T(R *w, R *sum, const R *g, ptrdiff_t size, double step, double lr, double lr_decay,    \
                              double eps, double decay);                                                            \
    /* In place on w and m: w = (1-lr*decay)*w - lr * sign(beta1*m + (1-beta1)*g), sign 0 = 0;                      \
     * then m = beta2*m + (1-beta2)*g. */                                                                           \
    void cnn_lion_step_##T(R *w, R *m, const R *g, ptrdiff_t size, double lr, double beta1, double beta2,           \
                           double decay);                                                                           \
                                                                                                                    \
    /* For benchmarks: 64 times n vector multiply-adds in registers for every thread, and how many floating-point   \
     * operations that was. Timed, it is the peak that other functions are measured by. */                          \
    double cnn_fma_peak_##T(ptrdiff_t n);

CNN_DECLARE(float, f32)
CNN_DECLARE(double, f64)

/* y[n,c,i,j] = x[n,c] at column m[n][0][0] j + m[n][0][1] i + m[n][0][2] + shift[n][0][i][j] and row m[n][1][0] j +
 * m[n][1][1] i + m[n][1][2] + shift[n][1][i][j], linear between the four pixels around, bytes rounded to nearest;
 * matrix [n][2][3], shift [n][2][oh][ow], 0 if NULL. x and y are of `element`: this function has one instance. */
cnn_status cnn_warp_images(void *y, const void *x, const double *matrix, const float *shift, cnn_element element,
                           const cnn_warp *p);

#ifdef __cplusplus
}
#endif
#endif
