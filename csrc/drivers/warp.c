/* Images read at other places, along affine maps and displacement fields. Gathers from anywhere: plain C is what there is
 * to have. One body serves all element types: each call of warp_rows is with a constant one, which the compiler resolves.
 * Places and sums are in double, so that the bits are the same on every instruction set. */
#include "../cnn.h"
#include "../parallel.h"
#include "sizes.h"

typedef struct {
    const cnn_warp *p;
    void *y;
    const void *x;
    const double *matrix;
    const float *shift;
    cnn_element element;
    ptrdiff_t rows, strips; /* of a task, of an image */
} warp;

#define TASK_PIXELS 4096

static INLINE double get(const void *x, ptrdiff_t i, cnn_element element) {
    if (element == CNN_U8) return ((const uint8_t *)x)[i];
    return element == CNN_F32 ? ((const float *)x)[i] : ((const double *)x)[i];
}

static INLINE void put(void *y, ptrdiff_t i, double value, cnn_element element) {
    if (element == CNN_U8) ((uint8_t *)y)[i] = (uint8_t)(value + 0.5);
    else if (element == CNN_F32) ((float *)y)[i] = (float)value;
    else ((double *)y)[i] = value;
}

/* A pixel of a plane that begins at `plane`, or what lies around the image. */
static INLINE double around(const warp *v, ptrdiff_t plane, ptrdiff_t i, ptrdiff_t j, cnn_element element) {
    const cnn_warp *p = v->p;
    return i >= 0 && i < p->h && j >= 0 && j < p->w ? get(v->x, plane + i * p->w + j, element) : p->fill;
}

/* The plane at row `row`, column `column`: between -1 and the number of rows or columns. */
static INLINE double between(const warp *v, ptrdiff_t plane, double row, double column, cnn_element element) {
    const cnn_warp *p = v->p;
    const ptrdiff_t i = (ptrdiff_t)(row + 1) - 1, j = (ptrdiff_t)(column + 1) - 1, at = plane + i * p->w + j;
    const double down = row - (double)i, right = column - (double)j;
    double a, b, c, d;
    if (i >= 0 && i + 1 < p->h && j >= 0 && j + 1 < p->w) {
        a = get(v->x, at, element), b = get(v->x, at + 1, element);
        c = get(v->x, at + p->w, element), d = get(v->x, at + p->w + 1, element);
    } else {
        a = around(v, plane, i, j, element), b = around(v, plane, i, j + 1, element);
        c = around(v, plane, i + 1, j, element), d = around(v, plane, i + 1, j + 1, element);
    }
    if (down == 0 && right == 0) return a; /* its very bits, whatever is next to it */
    const double above = a + right * (b - a), below = c + right * (d - c);
    return above + down * (below - above);
}

static INLINE void warp_rows(const warp *v, ptrdiff_t image, ptrdiff_t first, ptrdiff_t end, cnn_element element) {
    const cnn_warp *p = v->p;
    const double *m = v->matrix + image * 6;
    const ptrdiff_t area = p->oh * p->ow;
    for (ptrdiff_t i = first; i < end; i++)
        for (ptrdiff_t j = 0; j < p->ow; j++) {
            double column = m[0] * (double)j + m[1] * (double)i + m[2], row = m[3] * (double)j + m[4] * (double)i + m[5];
            if (v->shift) {
                column += v->shift[2 * image * area + i * p->ow + j];
                row += v->shift[(2 * image + 1) * area + i * p->ow + j];
            }
            /* False for NaN, too. */
            const int meets = column > -1 && column < (double)p->w && row > -1 && row < (double)p->h;
            for (ptrdiff_t plane = image * p->c; plane < (image + 1) * p->c; plane++)
                put(v->y, plane * area + i * p->ow + j,
                    meets ? between(v, plane * p->h * p->w, row, column, element) : p->fill, element);
        }
}

static void warp_task(const void *context, ptrdiff_t task, int thread) {
    const warp *v = context;
    const ptrdiff_t image = task / v->strips, first = task % v->strips * v->rows, end = cnn_min(v->p->oh, first + v->rows);
    (void)thread;
    if (v->element == CNN_U8) warp_rows(v, image, first, end, CNN_U8);
    else if (v->element == CNN_F32) warp_rows(v, image, first, end, CNN_F32);
    else warp_rows(v, image, first, end, CNN_F64);
}

cnn_status cnn_warp_images(void *y, const void *x, const double *matrix, const float *shift, cnn_element element,
                           const cnn_warp *p) {
    const ptrdiff_t sizes[] = {p->n, p->c, p->h, p->w, p->oh, p->ow};
    for (int i = 0; i < 6; i++)
        if (sizes[i] < 1 || sizes[i] > CNN_LARGEST) return CNN_BAD_SIZE;
    if (element == CNN_U8 && !(p->fill >= 0 && p->fill <= 255)) return CNN_BAD_SIZE;
    warp v = {p, y, x, matrix, shift, element, cnn_max(1, TASK_PIXELS / (p->ow * p->c)), 0};
    v.strips = cnn_ceil_div(p->oh, v.rows);
    /* A pixel costs about as much as that many multiply-adds. */
    const double work = 64 * (double)p->n * (double)p->c * (double)(p->oh * p->ow);
    cnn_parallel_for(cnn_threads_for(work), p->n * v.strips, warp_task, &v);
    return CNN_OK;
}
