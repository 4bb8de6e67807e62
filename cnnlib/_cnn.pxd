# csrc/cnn.h for Cython: see there for what each function does.

from libc.stdint cimport int64_t, uint64_t, uint8_t


cdef extern from "cnn.h" nogil:
    ctypedef enum cnn_status:
        CNN_OK
        CNN_NO_MEMORY
        CNN_NOT_FINITE
        CNN_BAD_SIZE

    ctypedef struct cnn_conv2d:
        ptrdiff_t n, c, h, w, k, r, s, oh, ow
        ptrdiff_t stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, groups

    ctypedef struct cnn_conv2d_fusion:
        int x_lanes, y_lanes, relu, pool

    ctypedef struct cnn_pool2d:
        ptrdiff_t planes, h, w, oh, ow, kernel_h, kernel_w, stride_h, stride_w, pad_h, pad_w, after_h, after_w
        int count_include_pad, lanes

    ctypedef enum cnn_operation:
        CNN_ADD
        CNN_SUBTRACT
        CNN_MULTIPLY
        CNN_DIVIDE

    ctypedef enum cnn_activation:
        CNN_ELU
        CNN_GELU
        CNN_GELU_TANH
        CNN_HARDSIGMOID
        CNN_HARDSWISH
        CNN_HARDTANH
        CNN_LEAKY_RELU
        CNN_MISH
        CNN_SIGMOID
        CNN_SILU
        CNN_SOFTPLUS
        CNN_SOFTSIGN
        CNN_TANH

    ctypedef struct cnn_response:
        ptrdiff_t before, after
        double scale, beta, k

    ctypedef enum cnn_loss:
        CNN_SQUARED
        CNN_ABSOLUTE
        CNN_BINARY
        CNN_BINARY_LOGITS

    ctypedef struct cnn_linear:
        ptrdiff_t n, outputs, inputs
        int x_lanes, y_lanes, relu

    ctypedef struct cnn_update:
        int check, adam, nesterov, decoupled
        double lr, decay, momentum, step, beta1, beta2, eps

    ctypedef enum cnn_element:
        CNN_U8
        CNN_F32
        CNN_F64

    ctypedef struct cnn_warp:
        ptrdiff_t n, c, h, w, oh, ow
        double fill

    cnn_status cnn_warp_images(void *, const void *, const double *, const float *, cnn_element, const cnn_warp *)
    const char *const *cnn_isa_built()
    const char *const *cnn_isa_supported()
    const char *cnn_isa_active()
    const char *cnn_compiler()
    int cnn_set_isa(const char *)
    int cnn_lanes()
    void cnn_set_threads(int)
    int cnn_get_threads()
    double cnn_fma_peak_f32(ptrdiff_t)
    double cnn_fma_peak_f64(ptrdiff_t)
    void cnn_release_workspace()
    int cnn_set_algorithm(const char *)
    const char *cnn_get_algorithm()

    cnn_status cnn_conv2d_forward_f32(float *, uint8_t *, const float *, const float *, const float *, const float *,
                                      const cnn_conv2d *, const cnn_conv2d_fusion *)
    cnn_status cnn_conv2d_backward_f32(float *, float *, float *, const float *, const float *, const uint8_t *, const float *,
                                       const float *, const cnn_conv2d *, const cnn_conv2d_fusion *)
    cnn_status cnn_conv2d_forward_f64(double *, uint8_t *, const double *, const double *, const double *, const double *,
                                      const cnn_conv2d *, const cnn_conv2d_fusion *)
    cnn_status cnn_conv2d_backward_f64(double *, double *, double *, const double *, const double *, const uint8_t *, const double *,
                                       const double *, const cnn_conv2d *, const cnn_conv2d_fusion *)
    const char *cnn_conv2d_way_f32(const cnn_conv2d *, const cnn_conv2d_fusion *, int)
    cnn_status cnn_to_lanes_f32(float *, const float *, ptrdiff_t, ptrdiff_t)
    cnn_status cnn_to_lanes_f64(double *, const double *, ptrdiff_t, ptrdiff_t)
    cnn_status cnn_from_lanes_f32(float *, const float *, ptrdiff_t, ptrdiff_t)
    cnn_status cnn_from_lanes_f64(double *, const double *, ptrdiff_t, ptrdiff_t)
    cnn_status cnn_max_pool2d_forward_f32(float *, uint8_t *, const float *, const cnn_pool2d *)
    cnn_status cnn_max_pool2d_forward_f64(double *, uint8_t *, const double *, const cnn_pool2d *)
    cnn_status cnn_max_pool2d_grad_f32(float *, const float *, const float *, const uint8_t *, const cnn_pool2d *)
    cnn_status cnn_max_pool2d_grad_f64(double *, const double *, const double *, const uint8_t *, const cnn_pool2d *)
    cnn_status cnn_avg_pool2d_forward_f32(float *, const float *, const cnn_pool2d *)
    cnn_status cnn_avg_pool2d_forward_f64(double *, const double *, const cnn_pool2d *)
    cnn_status cnn_avg_pool2d_grad_f32(float *, const float *, const cnn_pool2d *)
    cnn_status cnn_avg_pool2d_grad_f64(double *, const double *, const cnn_pool2d *)
    cnn_status cnn_linear_forward_f32(float *, const float *, const float *, const float *, const cnn_linear *)
    cnn_status cnn_linear_forward_f64(double *, const double *, const double *, const double *, const cnn_linear *)
    cnn_status cnn_linear_backward_f32(float *, float *, float *, const float *, const float *, const float *, const float *, float **, const cnn_update *, const cnn_linear *)
    cnn_status cnn_linear_backward_f64(double *, double *, double *, const double *, const double *, const double *, const double *, double **, const cnn_update *, const cnn_linear *)
    void cnn_arithmetic_f32(float *, const float *, const float *, ptrdiff_t, cnn_operation)
    void cnn_arithmetic_f64(double *, const double *, const double *, ptrdiff_t, cnn_operation)
    void cnn_divide_grad_b_f32(float *, const float *, const float *, const float *, ptrdiff_t)
    void cnn_divide_grad_b_f64(double *, const double *, const double *, const double *, ptrdiff_t)
    void cnn_affine_f32(float *, const float *, ptrdiff_t, double, double)
    void cnn_affine_f64(double *, const double *, ptrdiff_t, double, double)
    void cnn_reciprocal_f32(float *, const float *, ptrdiff_t, double)
    void cnn_reciprocal_f64(double *, const double *, ptrdiff_t, double)
    void cnn_relu_forward_f32(float *, const float *, ptrdiff_t)
    void cnn_relu_forward_f64(double *, const double *, ptrdiff_t)
    void cnn_relu_grad_f32(float *, const float *, const float *, ptrdiff_t)
    void cnn_relu_grad_f64(double *, const double *, const double *, ptrdiff_t)
    void cnn_activation_f32(float *, const float *, const float *, ptrdiff_t, cnn_activation, double, double)
    void cnn_activation_f64(double *, const double *, const double *, ptrdiff_t, cnn_activation, double, double)
    cnn_status cnn_prelu_forward_f32(float *, const float *, const float *, ptrdiff_t, ptrdiff_t, ptrdiff_t)
    cnn_status cnn_prelu_forward_f64(double *, const double *, const double *, ptrdiff_t, ptrdiff_t, ptrdiff_t)
    cnn_status cnn_prelu_grad_f32(float *, float *, const float *, const float *, const float *, ptrdiff_t, ptrdiff_t, ptrdiff_t)
    cnn_status cnn_prelu_grad_f64(double *, double *, const double *, const double *, const double *, ptrdiff_t, ptrdiff_t, ptrdiff_t)
    cnn_status cnn_batch_moments_f32(float *, float *, const float *, ptrdiff_t, ptrdiff_t, ptrdiff_t)
    cnn_status cnn_batch_moments_f64(double *, double *, const double *, ptrdiff_t, ptrdiff_t, ptrdiff_t)
    cnn_status cnn_batch_norm_forward_f32(float *, const float *, const float *, const float *, const float *, const float *, ptrdiff_t, ptrdiff_t, ptrdiff_t, double, int)
    cnn_status cnn_batch_norm_forward_f64(double *, const double *, const double *, const double *, const double *, const double *, ptrdiff_t, ptrdiff_t, ptrdiff_t, double, int)
    cnn_status cnn_batch_norm_grad_f32(float *, float *, float *, const float *, const float *, const float *, const float *, const float *, const float *, ptrdiff_t, ptrdiff_t, ptrdiff_t, double, int)
    cnn_status cnn_batch_norm_grad_f64(double *, double *, double *, const double *, const double *, const double *, const double *, const double *, const double *, ptrdiff_t, ptrdiff_t, ptrdiff_t, double, int)
    void cnn_local_response_f32(float *, float *, const float *, const float *, ptrdiff_t, ptrdiff_t, ptrdiff_t, const cnn_response *)
    void cnn_local_response_f64(double *, double *, const double *, const double *, ptrdiff_t, ptrdiff_t, ptrdiff_t, const cnn_response *)
    void cnn_softmax_forward_f32(float *, const float *, ptrdiff_t, ptrdiff_t, int)
    void cnn_softmax_forward_f64(double *, const double *, ptrdiff_t, ptrdiff_t, int)
    void cnn_softmax_grad_f32(float *, const float *, const float *, ptrdiff_t, ptrdiff_t, int)
    void cnn_softmax_grad_f64(double *, const double *, const double *, ptrdiff_t, ptrdiff_t, int)
    cnn_status cnn_cross_entropy_f32(double *, float *, const float *, const int64_t *, const float *, ptrdiff_t, ptrdiff_t)
    cnn_status cnn_cross_entropy_f64(double *, double *, const double *, const int64_t *, const double *, ptrdiff_t, ptrdiff_t)
    cnn_status cnn_dropout_f32(float *, const float *, ptrdiff_t, ptrdiff_t, double, uint64_t)
    cnn_status cnn_dropout_f64(double *, const double *, ptrdiff_t, ptrdiff_t, double, uint64_t)
    cnn_status cnn_loss_f32(double *, float *, const float *, const float *, ptrdiff_t, ptrdiff_t, cnn_loss)
    cnn_status cnn_loss_f64(double *, double *, const double *, const double *, ptrdiff_t, ptrdiff_t, cnn_loss)
    int cnn_all_finite_f32(const float *, ptrdiff_t)
    int cnn_all_finite_f64(const double *, ptrdiff_t)
    void cnn_sgd_step_f32(float *, float *, const float *, ptrdiff_t, double, double, double, int)
    void cnn_sgd_step_f64(double *, double *, const double *, ptrdiff_t, double, double, double, int)
    void cnn_adam_step_f32(float *, float *, float *, const float *, ptrdiff_t, double, double, double, double, double, double, int)
    void cnn_adam_step_f64(double *, double *, double *, const double *, ptrdiff_t, double, double, double, double, double, double, int)
    void cnn_rmsprop_step_f32(float *, float *, float *, float *, const float *, ptrdiff_t, double, double, double, double, double)
    void cnn_rmsprop_step_f64(double *, double *, double *, double *, const double *, ptrdiff_t, double, double, double, double, double)
    void cnn_adagrad_step_f32(float *, float *, const float *, ptrdiff_t, double, double, double, double, double)
    void cnn_adagrad_step_f64(double *, double *, const double *, ptrdiff_t, double, double, double, double, double)
    void cnn_lion_step_f32(float *, float *, const float *, ptrdiff_t, double, double, double, double)
    void cnn_lion_step_f64(double *, double *, const double *, ptrdiff_t, double, double, double, double)
