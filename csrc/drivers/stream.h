/* Outputs that are larger than the caches.
 *
 * An ordinary store first reads the cache line that it is going to overwrite. Kernels that only map inputs to an output
 * can store past the caches, without that read: two thirds of the traffic of y = f(x). Smaller outputs go where the next
 * reader looks first, into the caches. */

#ifndef STREAM_BYTES
#define STREAM_BYTES ((double)(32 << 20)) /* no core can count on a cache that holds an output of this size */
#define LINE_BYTES 64
#endif

/* Computes elements [from, from + n) of an output to y; with `stream` past the caches, and then y begins a line. */
typedef void (*FN(cnn_fill))(const void *context, REAL *y, ptrdiff_t from, ptrdiff_t n, int stream);

/* Whether an output of `size` elements, none of them read by the same call, is better stored past the caches. */
static int FN(cnn_streams)(ptrdiff_t size) {
    return FN(cnn_kernels)()->streams && (double)size * sizeof(REAL) >= STREAM_BYTES;
}

/* y[from ... from + n) by `fill`: with `stream`, past the caches from the first whole line on. The task that calls this
 * ends with a fence then. */
static void FN(cnn_deliver)(REAL *y, ptrdiff_t from, ptrdiff_t n, int stream, FN(cnn_fill) fill, const void *context) {
    ptrdiff_t head = 0;
    if (stream) {
        head = cnn_min(n, (ptrdiff_t)(-(uintptr_t)(y + from) % LINE_BYTES / sizeof(REAL)));
        if (head) fill(context, y + from, from, head, 0);
    }
    if (head < n) fill(context, y + from + head, from + head, n - head, stream);
}
