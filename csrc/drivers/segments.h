/* Pooling windows along one axis, cut into segments that share their taps. Included once per REAL. */

typedef struct {
    ptrdiff_t in, out, kernel, stride, pad, after;
} FN(pool_axis);

/* Indices first, first + step, ... `count` of them. Their taps are positions k, k + k_step, ... of a window, `taps` of them.
 * The first index reads at `from` through the first tap, `from_step` further on through the next; the next index reads
 * `advance` further on. */
typedef struct {
    ptrdiff_t first, step, count, k, k_step, taps, from, from_step, advance;
} FN(segment);

/* Output o and those after it, before `end`, which read the plane: all whose windows are whole, or one that is cut off. */
static FN(segment) FN(segment_of_outputs)(const FN(pool_axis) * a, ptrdiff_t o, ptrdiff_t end) {
    const ptrdiff_t from = o * a->stride - a->pad, k = cnn_max(0, -from), to = cnn_min(a->kernel, a->in - from);
    const ptrdiff_t whole = to - k == a->kernel ? (a->in - from - a->kernel) / a->stride + 1 : 1;
    return (FN(segment)){o, 1, cnn_min(whole, end - o), k, 1, to - k, from + k, 1, a->stride};
}

/* Positions of output o's window that lie in the plane or its padding. */
static ptrdiff_t FN(counted)(const FN(pool_axis) * a, ptrdiff_t o) {
    return cnn_min(a->kernel, a->in + a->after + a->pad - o * a->stride);
}

/* Pixel i and those `stride` apart after it, before `end`, which read the outputs whose windows they are in. */
static FN(segment) FN(segment_of_pixels)(const FN(pool_axis) * a, ptrdiff_t i, ptrdiff_t end) {
    const ptrdiff_t last = (i + a->pad) / a->stride, k = (i + a->pad) % a->stride;
    const ptrdiff_t all = k < a->kernel ? (a->kernel - 1 - k) / a->stride + 1 : 0;
    const ptrdiff_t skip = cnn_max(0, last - (a->out - 1)), taps = cnn_max(0, cnn_min(all, last + 1) - skip);
    const ptrdiff_t left = (end - 1 - i) / a->stride + 1, whole = taps == all && !skip ? a->out - last : 1;
    return (FN(segment)){i, a->stride, cnn_min(whole, left), k + skip * a->stride, a->stride, taps, last - skip, -1, 1};
}

/* Outputs [*first, *last) whose windows read rows [row, end). */
static void FN(readers)(const FN(pool_axis) * a, ptrdiff_t row, ptrdiff_t end, ptrdiff_t *first, ptrdiff_t *last) {
    const ptrdiff_t before = row + a->pad - a->kernel + 1;
    *first = before > 0 ? cnn_ceil_div(before, a->stride) : 0;
    *last = cnn_max(*first, cnn_min(a->out, (end - 1 + a->pad) / a->stride + 1));
}
