/* The kernel table: what an instruction set must provide, and the arguments of each kernel.
 *
 * Included once per REAL. Kernels are single-threaded, allocate nothing, and never read or write past the extents
 * that their arguments state. Strides and offsets count elements. L is the table's `lanes`.
 *
 * "Lane layout": L planes side by side, element (plane l, position i) at [i * L + l]. The planes are the same
 * channel of L images (convolution), any L planes (pooling), or the rows of a matrix (dense). */

/* The same for a convolution whose inputs are read where they are, mb output channels by nb pixels:
 *   c[i*c_i + j*c_j + l] = bias[i] + sum over q < channels, t < taps: a[(q*taps + t)*mb + i] * x[q*x_c + tap[t] + j*x_p + l]
 * with mb the table's gemm_mb, whatever part of it the tile has; bias may be NULL (zero). */
typedef struct {
    REAL *c;
    const REAL *a, *x, *bias;
    const ptrdiff_t *tap;
    ptrdiff_t c_i, c_j, x_c, x_p, taps, channels;
} FN(cnn_tap_tile);

/* x[at] + sign * what is `row` further, and to that, sign * the same `col` further; 0: nothing is added. */
typedef struct {
    ptrdiff_t at, row, col;
} FN(cnn_difference);

/* One register tile of a weight gradient, kb output channels by tb columns of the unfolded input:
 *   dw[k*dw_k + t] += sum over r < rows, i < cols, l: dy[k*dy_k + r*dy_r + i*L + l] * x[tap[t] + r*x_r + i*x_p + l] */
typedef struct {
    REAL *dw;
    const REAL *dy, *x;
    ptrdiff_t dw_k, dy_k, dy_r, x_r, x_p;
    const ptrdiff_t *tap;
    ptrdiff_t rows, cols;
} FN(cnn_grad_tile);

/* One register tile of a matrix product, mb rows by nb vectors:
 *   c[i*c_i + j*c_j + l] = init + sum over p < depth: a[i*a_i + p*a_p] * b[p*b_p + j*b_j + l]
 * init is bias[i], or the former c where accumulate is set, or 0; where `apart` is set, too, the former c is added in the
 * end: long sums are made of short ones then, which rounds less; with relu, c = max(c, 0) in the end, NaN stays NaN.
 * Of the last vector only the first `tail` lanes are read and written. */
typedef struct {
    REAL *c;
    const REAL *a, *b, *bias;
    ptrdiff_t c_i, c_j, a_i, a_p, b_p, b_j, depth;
    int tail, accumulate, apart, relu;
} FN(cnn_gemm_tile);

/* Dot products of few vectors with many: y[n*outputs + j] = bias[j] + sum over p < depth: x[n*depth + p] * w[j*depth + p]
 * for n < images, from <= j < to; bias may be NULL; with relu, y = max(y, 0), NaN stays NaN. */
typedef struct {
    REAL *y;
    const REAL *x, *w, *bias;
    ptrdiff_t images, outputs, depth;
    int relu;
} FN(cnn_dots);

/* A block of pooling windows of L planes in lane layout: rows × cols outputs, all through the same taps. Output (r, c) is
 * at y + r*y_r + c*y_p, and its taps read x + r*x_r + c*x_p + tap[t]; position[t] is the tap's place in the window. */
typedef struct {
    const ptrdiff_t *tap;
    const REAL_INT *position;
    ptrdiff_t taps, rows, cols, x_r, x_p, y_r, y_p;
    REAL area;
} FN(cnn_windows);

/* A convolution of one plane. Column s of the filter reads tap[s] further, row r reads r*x_r further, and each output row
 * x_j further than the one above it. Beyond the columns that outputs read, x may be read up to a whole vector. */
typedef struct {
    const ptrdiff_t *tap;
    ptrdiff_t r, s, rows, cols; /* of the filter; of the outputs */
    ptrdiff_t x_j, x_r, y_j;
} FN(cnn_depth);

/* What becomes of the sum: scale * sum + bias, added to the former y where `accumulate` is set; with relu, max(y, 0), NaN
 * stays NaN. Weights stand w_t apart. */
typedef struct {
    ptrdiff_t w_t;
    REAL scale, bias;
    int accumulate, relu;
} FN(cnn_depth_end);

/* What batch normalisation needs of a channel, or, with `each`, of as many channels as there are columns. With relu, what
 * follows it is ReLU: y is positive where (x - mean) * scale + offset is. */
typedef struct {
    const REAL *mean, *scale, *shift, *slope, *offset;
    int relu;
} FN(cnn_norm);

#define CNN_KERNELS(K)                                                                                              \
    /* dst[i*L + l] = src[l*stride + i] for l < planes, 0 for the other lanes; i < count */                         \
    K(lanes_from_planes, (REAL *dst, const REAL *src, ptrdiff_t stride, int planes, ptrdiff_t count))               \
    /* dst[l*stride + i] = src[i*L + l] for l < planes; i < count */                                                \
    K(planes_from_lanes, (REAL *dst, ptrdiff_t stride, int planes, const REAL *src, ptrdiff_t count))               \
    /* dst[l*stride + i*L + q] = src[q*plane + i*L + l] for q < planes, 0 for the other q; l < lanes, i < count */   \
    K(swap_lanes, (REAL *dst, ptrdiff_t stride, int lanes, const REAL *src, ptrdiff_t plane, int planes, ptrdiff_t count)) \
    /* The same as the first two from and to any addresses: src[l] or dst[l] + i; of dst[l] only the first counts[l] are written */       \
    K(lanes_gather, (REAL *dst, const REAL *const *src, ptrdiff_t planes, ptrdiff_t count))                         \
    K(planes_scatter, (REAL *const *dst, const ptrdiff_t *counts, ptrdiff_t planes, const REAL *src, ptrdiff_t count)) \
    /* panel[((c*taps + t)*count + i)*L + l] = x[c*x_c + tap[t] + i*x_p + l]; i < count, at most gemm_nb */          \
    K(panel, (REAL *panel, const REAL *x, const ptrdiff_t *tap, ptrdiff_t taps, ptrdiff_t channels, ptrdiff_t x_c,  \
              ptrdiff_t x_p, int count))                                                                            \
    /* The same of sums of two or four; sign: 1 or -1 */                                                                                 \
    K(panel_differences, (REAL *panel, const REAL *x, const FN(cnn_difference) *term, ptrdiff_t terms, ptrdiff_t channels, \
                          ptrdiff_t x_c, ptrdiff_t x_p, int count, REAL sign))                                      \
    /* y[r*y_r + (2*i + q)*y_q + l] = sum over a < high - 1, b < wide - 1: sums[(wide*(r + a) + q + b)*sums_s + i*L + l];  \
     * r, q < 2, i < count; high and wide are 2 or 3 */                                                             \
    K(strided_output, (REAL *y, ptrdiff_t y_r, ptrdiff_t y_q, const REAL *sums, ptrdiff_t sums_s, int high, int wide, \
                       ptrdiff_t count))                                                                            \
    /* y[q*L + l] = the largest of lane l of the 2 x 2 positions at x + 2*q*L, its rows `pitch` positions apart, and 0   \
     * instead of what is negative if relu; q < count; y may be x. winner, if not NULL: its place 0 ... 3 in the window,  \
     * row by row, 255 where relu shut it off. */                                                                   \
    K(pool2, (REAL *y, uint8_t *winner, const REAL *x, ptrdiff_t pitch, ptrdiff_t count, int relu))                 \
    /* The same of two rows of numbers, without winners: y[q] = the largest of a[2q], a[2q+1], b[2q], b[2q+1]. Rows are     \
     * read, and y is written, in whole vectors; y may be a. */                                                     \
    K(pool_row, (REAL *y, const REAL *a, const REAL *b, ptrdiff_t count, int relu))                                 \
    /* dx, at all 4 * count positions: dy at the winner's place, else 0 */                                          \
    K(pool2_grad, (REAL *dx, ptrdiff_t pitch, const REAL *dy, const uint8_t *winner, ptrdiff_t count))              \
    K(grad_tile, (const FN(cnn_grad_tile) * t, int kb, int tb))                                                     \
    K(gemm_tile, (const FN(cnn_gemm_tile) * t, int mb, int nb))                                                     \
    K(tap_tile, (const FN(cnn_tap_tile) * t, int mb, int nb))                                                       \
    /* Winograd's n×n tiles, n*n frequencies f each, for filters of taps×taps; m = n + 1 - taps:                    \
     * u[f*u_f + l] = frequency f of the filter in lane l < lanes; w: lane planes of taps*taps positions, turned by \
     * 180 degrees if flip */                                                                                       \
    K(wino_weights, (REAL *u, ptrdiff_t u_f, const REAL *w, int flip, int lanes, int taps, int n))                  \
    /* v[f*v_f + t*v_t + l] = frequency f of the n×n tile at x + t*x_t; its rows x_r apart; t < tiles */            \
    K(wino_input, (REAL *v, ptrdiff_t v_f, ptrdiff_t v_t, const REAL *x, ptrdiff_t x_r, ptrdiff_t x_t, ptrdiff_t tiles, \
                   int n))                                                                                          \
    /* y: rows y_r apart, tile t at y + t*m*L = bias + the m×m outputs of v[f*v_f + t*L + l] */                     \
    K(wino_output, (REAL *y, ptrdiff_t y_r, const REAL *v, ptrdiff_t v_f, REAL bias, ptrdiff_t tiles, int taps, int n)) \
    /* v[f*v_f + t*v_t + l] = frequency f of the m×m tile of an output's gradient, as if it were a filter */        \
    K(wino_factor, (REAL *v, ptrdiff_t v_f, ptrdiff_t v_t, const REAL *dy, ptrdiff_t y_r, ptrdiff_t y_t,            \
                    ptrdiff_t tiles, int taps, int n))                                                              \
    /* w[t*L + l], t < taps*taps: the filter's gradient from its frequencies, sums over p < parts of                \
     * v[f*v_f + p*v_p + l] */                                                                                      \
    K(wino_taps, (REAL *w, const REAL *v, ptrdiff_t v_f, ptrdiff_t parts, ptrdiff_t v_p, int taps, int n))          \
    /* y[j*y_j + i] from sum over r, s: w[(r*d.s + s)*w_t] * x[j*x_j + r*x_r + tap[s] + i]; j < rows, i < cols */   \
    K(depth_sum, (REAL *y, const REAL *x, const REAL *w, const FN(cnn_depth) * d, const FN(cnn_depth_end) * end))   \
    /* dw[(r*d.s + s)*L + l] += its share, any, of sum over j, i: dy[j*y_j + i] * x[j*x_j + r*x_r + tap[s] + i] */  \
    K(depth_grad, (REAL *dw, const REAL *dy, const REAL *x, const FN(cnn_depth) * d))                               \
    /* dst[j*dst_j + i*dst_i] = src[j*src_j + i*src_i]; j < rows, i < cols */                                       \
    K(copy_rows, (REAL *dst, ptrdiff_t dst_j, ptrdiff_t dst_i, const REAL *src, ptrdiff_t src_j, ptrdiff_t src_i,   \
                  ptrdiff_t rows, ptrdiff_t cols))                                                                  \
    K(dots, (const FN(cnn_dots) * d, ptrdiff_t from, ptrdiff_t to))                                                 \
    /* y[j] = sum over i < rows: x[i*cols + j], added in the order of i; j in [from, to) */                         \
    K(sum_rows, (REAL *y, const REAL *x, ptrdiff_t rows, ptrdiff_t cols, ptrdiff_t from, ptrdiff_t to))             \
    /* *y = sum over i < rows, j < cols: x[i*stride + j] */                                                         \
    K(sum_planes, (REAL *y, const REAL *x, ptrdiff_t rows, ptrdiff_t stride, ptrdiff_t cols))                       \
    /* y = sum over p < parts, in the order of p: x[p*stride + i]; i < n; y may be x */                             \
    K(sum_parts, (REAL *y, const REAL *x, ptrdiff_t parts, ptrdiff_t stride, ptrdiff_t n))                          \
    /* y = maximum over taps, or the last NaN; at, where not NULL: position of the first maximum or of the last NaN */\
    K(max_windows, (REAL *y, uint8_t *at, const REAL *x, const FN(cnn_windows) * p))                                \
    /* The positions alone, as integers */                                                                          \
    K(max_winners, (REAL_INT *winner, const REAL *x, const FN(cnn_windows) * p))                                    \
    /* dx = sum of dy over those taps whose position is the winner's in dy's place: in at, or if at is NULL in winner */\
    K(max_windows_grad, (REAL *dx, const REAL *dy, const uint8_t *at, const REAL_INT *winner,                       \
                         const FN(cnn_windows) * p))                                                                \
    /* The same from the windows' side, where they do not overlap: x is dx, all taps of which are written, y is dy */ \
    K(max_windows_spread, (REAL *dx, const REAL *dy, const uint8_t *at, const REAL_INT *winner,                     \
                           const FN(cnn_windows) * p))                                                              \
    /* y = sum over taps / area; y may be x where the only tap is 0 */                                              \
    K(sum_windows, (REAL *y, const REAL *x, const FN(cnn_windows) * p))                                             \
    /* y[i] = sum over j < size: x[i*size + j] / size; dx[i*size + j] = dy[i] / size; i < planes */                 \
    K(mean_each, (REAL *y, const REAL *x, ptrdiff_t planes, ptrdiff_t size))                                        \
    K(mean_each_grad, (REAL *dx, const REAL *dy, ptrdiff_t planes, ptrdiff_t size))                                 \
    /* A kernel's `stream` says that its output, which begins on a multiple of a vector and is none of its inputs, goes \
     * past the caches. Others may read it after a fence. */                                                        \
    K(fence, (void))                                                                                                \
    /* y = a + b, a - b, a * b or a / b; y may be a or b */                                                         \
    K(arithmetic, (REAL *y, const REAL *a, const REAL *b, ptrdiff_t n, int stream, cnn_operation operation))        \
    /* db = -(dy / b) * y for y = a / b; db may be any of them */                                                   \
    K(divide_grad_b, (REAL *db, const REAL *dy, const REAL *b, const REAL *y, ptrdiff_t n, int stream))             \
    /* y = scale * x + offset; y may be x */                                                                        \
    K(affine, (REAL *y, const REAL *x, ptrdiff_t n, int stream, REAL scale, REAL offset))                           \
    /* y = numerator / x; y may be x */                                                                             \
    K(reciprocal, (REAL *y, const REAL *x, ptrdiff_t n, int stream, REAL numerator))                                \
    /* y = max(x, 0), NaN stays NaN; y may be x */                                                                  \
    K(relu, (REAL *y, const REAL *x, ptrdiff_t n, int stream))                                                      \
    /* dx = dy where x > 0, else 0; dx may be dy or x */                                                            \
    K(relu_grad, (REAL *dx, const REAL *dy, const REAL *x, ptrdiff_t n, int stream))                                \
    /* y = f(x), cnn.h's `kind` with a and b, or dy * f'(x) where dy is not NULL; y may be x or dy */               \
    K(activation, (REAL *y, const REAL *dy, const REAL *x, ptrdiff_t n, int stream, cnn_activation kind, REAL a, REAL b)) \
    /* y = e^(x - *max), where y is not NULL; *sum = sum of it. A NaN in x is one in *sum */                        \
    K(exp_row, (REAL *y, const REAL *x, ptrdiff_t n, REAL *max, REAL *sum))                                         \
    /* y = x where x > 0, else slope * x; slope[i] for element i with `each`, slope[0] for all without */           \
    K(leaky_relu, (REAL *y, const REAL *x, const REAL *slope, ptrdiff_t n, int each, int stream))                   \
    /* dx = dy where x > 0, else slope * dy */                                                                      \
    K(leaky_relu_grad, (REAL *dx, const REAL *dy, const REAL *x, const REAL *slope, ptrdiff_t n, int each, int stream)) \
    /* da = sum of x * dy where not x > 0: of each column over the rows with `each`, of one row's columns without */\
    K(slope_grad, (REAL *da, const REAL *dy, const REAL *x, ptrdiff_t rows, ptrdiff_t cols, int each))              \
    /* sum of x, and the sum of its squared distances from its mean: by columns or of one row, as slope_grad */     \
    K(moments, (REAL *sum, REAL *spread, const REAL *x, ptrdiff_t rows, ptrdiff_t cols, int each))                  \
    /* sum of dy, and of dy * (x - mean): by columns or of one row, as slope_grad; with relu, of dy where y > 0 */  \
    K(norm_sums, (REAL *sum, REAL *dot, const REAL *dy, const REAL *x, const FN(cnn_norm) * p, ptrdiff_t rows,      \
                  ptrdiff_t cols, int each))                                                                        \
    /* y = (x - mean) * scale + shift, with relu max(y, 0), NaN stays NaN; parameters of element i with `each`, the \
     * first for all without */                                                                                     \
    K(norm, (REAL *y, const REAL *x, const FN(cnn_norm) * p, ptrdiff_t n, int each, int stream))                    \
    /* dx = scale * (dy - shift - (x - mean) * slope), with relu dy = 0 where not y > 0 */                          \
    K(norm_grad, (REAL *dx, const REAL *dy, const REAL *x, const FN(cnn_norm) * p, ptrdiff_t n, int each, int stream)) \
    /* Channels `plane` apart, i < n: y[c,i] = x[c,i] / d[c,i]^beta with d[c,i] = k + scale * sum over c - before <= j <=\
     * c + after: x[j,i]^2. With dy, y[c,i] = dy[c,i] / d[c,i]^beta and t[c,i] = y[c,i] * x[c,i] / d[c,i] */        \
    K(response, (REAL *y, REAL *t, const REAL *dy, const REAL *x, ptrdiff_t channels, ptrdiff_t plane, ptrdiff_t n, \
                 const cnn_response *p))                                                                            \
    /* dx[c,i] -= 2 * scale * beta * x[c,i] * sum over c - after <= j <= c + before: t[j,i] */                      \
    K(response_grad, (REAL *dx, const REAL *t, const REAL *x, ptrdiff_t channels, ptrdiff_t plane, ptrdiff_t n,     \
                      const cnn_response *p))                                                                       \
    /* y = 0 where random number first + i of the seed is below `below`, else scale * x; y may be x; first is a multiple  \
     * of 32 */                                                                                                     \
    K(dropout, (REAL *y, const REAL *x, ptrdiff_t n, uint64_t first, uint64_t seed, uint32_t below, REAL scale))    \
    /* *sum = what x costs against target, cnn.h's `kind`, in a sum over n elements; dx = share * the derivative */   \
    K(loss, (double *sum, REAL *dx, const REAL *x, const REAL *target, ptrdiff_t n, cnn_loss kind, REAL share))     \
    /* g' = g + decay*w; v = momentum*v + g'; w -= lr * (nesterov ? g' + momentum*v : v); v may be NULL: w -= lr*g' */ \
    K(sgd, (REAL *w, const REAL *g, REAL *v, ptrdiff_t n, const FN(cnn_sgd) * s))                                   \
    /* m, v: moving means of g' and g'^2; w -= rate * m / (sqrt(v)/root + eps), w first shrunk by `shrink` */       \
    K(adam, (REAL *w, const REAL *g, REAL *m, REAL *v, ptrdiff_t n, const FN(cnn_adam) * a))                        \
    /* v, m (NULL if not centred): moving means of g'^2 and g'; s = g' / (sqrt(v - m^2) + eps), root of 0 if negative; \
     * b (may be NULL) = momentum*b + s; w -= lr * (b ? b : s) */                                                   \
    K(rmsprop, (REAL *w, const REAL *g, REAL *v, REAL *m, REAL *b, ptrdiff_t n, const FN(cnn_rmsprop) * r))         \
    /* sum += g'^2; w -= rate * g' / (sqrt(sum) + eps) */                                                           \
    K(adagrad, (REAL *w, const REAL *g, REAL *sum, ptrdiff_t n, const FN(cnn_adagrad) * a))                         \
    /* w = shrink*w - lr * sign(beta1*m + (1-beta1)*g), sign 0 = 0; then m = beta2*m + (1-beta2)*g */               \
    K(lion, (REAL *w, const REAL *g, REAL *m, ptrdiff_t n, const FN(cnn_lion) * s))                                 \
    /* *finite = 0 if one of n numbers in a row of x is NaN or infinite, else it stays */                           \
    K(finite, (int *finite, const REAL *x, ptrdiff_t n, ptrdiff_t rows, ptrdiff_t stride))                          \
    /* n times s = s/2 + 1 on L lanes, dealt out to independent chains; *y = the sum of chains and lanes */         \
    K(fma_peak, (REAL *y, ptrdiff_t n))

typedef struct {
    REAL lr, momentum, decay;
    int nesterov;
} FN(cnn_sgd);

typedef struct {
    REAL beta1, beta2, rest1, rest2; /* rest = 1 - beta, which the caller takes before it rounds */
    REAL eps, decay;                 /* g' = g + decay*w */
    REAL shrink;                     /* w *= shrink before the update: the decoupled decay of AdamW */
    REAL rate, root;                 /* lr / (1 - beta1^t), sqrt(1 - beta2^t) */
} FN(cnn_adam);

typedef struct {
    REAL lr, alpha, rest, eps, decay, momentum; /* rest = 1 - alpha */
} FN(cnn_rmsprop);

typedef struct {
    REAL rate, decay, eps; /* rate = lr / (1 + (t - 1) * lr_decay) */
} FN(cnn_adagrad);

typedef struct {
    REAL lr, beta1, beta2, rest1, rest2, shrink; /* as cnn_adam's */
} FN(cnn_lion);

typedef struct {
    int lanes;            /* L: elements of REAL in a vector */
    int grad_kb, grad_tb; /* largest tiles that each kernel takes; smaller ones down to 1 x 1 work too */
    int gemm_mb, gemm_nb; /* gemm_mb == gemm_rows[gemm_nb] */
    int gemm_rows[5];     /* rows beside 1 ... gemm_nb vectors: few vectors leave registers for more rows */
    int streams; /* whether it can store past the caches */
#define CNN_FIELD(name, args) void(*name) args;
    CNN_KERNELS(CNN_FIELD)
#undef CNN_FIELD
} FN(cnn_table);
