/* Edges of the lane layout: NCHW image planes to padded lane planes. Included once per REAL. */

#ifndef SLAB_BYTES
#define SLAB_BYTES (16 << 20) /* lane planes held at a time: fits a shared cache, holds many small images */
#endif

/* Planes of h×w, `stride` elements from one lane's plane to the next, into a lane plane of rows×cols positions whose
 * (top, left) is the source's (0, 0); what the source does not cover is 0, source rows and columns outside are cut. */
static void FN(pack_plane)(const FN(cnn_table) * t, REAL *dst, const REAL *src, ptrdiff_t stride, int planes,
                           ptrdiff_t h, ptrdiff_t w, ptrdiff_t top, ptrdiff_t left, ptrdiff_t rows, ptrdiff_t cols) {
    const ptrdiff_t L = t->lanes;
    const ptrdiff_t skip = cnn_max(0, -left), begin = cnn_min(cols, cnn_max(0, left));
    const ptrdiff_t count = cnn_max(0, cnn_min(w - skip, cols - begin));
    if (top == 0 && left == 0 && cols == w && rows <= h) {
        t->lanes_from_planes(dst, src, stride, planes, rows * cols);
        return;
    }
    for (ptrdiff_t r = 0; r < rows; r++, dst += cols * L) {
        if (r < top || r - top >= h || count == 0) {
            memset(dst, 0, (size_t)(cols * L) * sizeof(REAL));
            continue;
        }
        memset(dst, 0, (size_t)(begin * L) * sizeof(REAL));
        t->lanes_from_planes(dst + begin * L, src + (r - top) * w + skip, stride, planes, count);
        memset(dst + (begin + count) * L, 0, (size_t)((cols - begin - count) * L) * sizeof(REAL));
    }
}
