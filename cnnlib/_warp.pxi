# Images read at other places: a part of _kernels.pyx.

ctypedef fused pixel:
    uint8_t
    float
    double


def warp(pixel[:, :, :, ::1] y, const pixel[:, :, :, ::1] x, const double[:, :, ::1] matrix, const float[:, :, :, ::1] shift, double fill):
    cdef cnn_warp p
    p.n, p.c, p.h, p.w = x.shape[0], x.shape[1], x.shape[2], x.shape[3]
    p.oh, p.ow, p.fill = y.shape[2], y.shape[3], fill
    demand(y.shape[0] == p.n > 0 and y.shape[1] == p.c > 0 and p.h > 0 and p.w > 0 and p.oh > 0 and p.ow > 0)
    demand(matrix.shape[0] == p.n and matrix.shape[1] == 2 and matrix.shape[2] == 3)
    if shift is not None:
        demand(shift.shape[0] == p.n and shift.shape[1] == 2 and shift.shape[2] == p.oh and shift.shape[3] == p.ow)
    cdef const float *shifts = &shift[0, 0, 0, 0] if shift is not None else NULL
    cdef cnn_element element = CNN_U8 if pixel is uint8_t else CNN_F32 if pixel is float else CNN_F64
    cdef cnn_status status
    with nogil:
        status = cnn_warp_images(&y[0, 0, 0, 0], &x[0, 0, 0, 0], &matrix[0, 0, 0], shifts, element, &p)
    check(status)
