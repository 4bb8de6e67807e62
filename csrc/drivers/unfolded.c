/* Convolution forward of few images in NCHW, whose filters are not used often enough to be packed or transformed:
 * y = w u, a product that reads each filter where it is, once, from memory.
 *
 * 1. per input channel: u [image][group][vector][input channel, tap][L], the pixels that outputs read through a tap
 * 2. per block of output channels: the product with all images, then normalisation, ReLU and pooling */

typedef struct {
    FN(conv) conv;
    const cnn_conv2d *p;
    ptrdiff_t area, depth;    /* pixels of an output, numbers of a filter */
    ptrdiff_t vectors, pitch; /* of pixels in u, and how far apart they are */
    ptrdiff_t blocks;         /* of a group's output channels */
    ptrdiff_t sums_size;      /* what a task computes for an image, before pooling */
    REAL *u, *lines, *sums;
} FN(unfolded);

/* Outputs o, o + count of an axis whose tap lies inside: the first reads source element *from. */
static ptrdiff_t FN(inside)(ptrdiff_t in, ptrdiff_t out, ptrdiff_t stride, ptrdiff_t offset, ptrdiff_t *o,
                            ptrdiff_t *from) {
    *o = offset < 0 ? cnn_ceil_div(-offset, stride) : 0;
    *from = offset + *o * stride;
    return *from < in ? cnn_max(0, cnn_min(out - *o, (in - 1 - *from) / stride + 1)) : 0;
}

static void FN(unfold)(const void *context, ptrdiff_t channel, int thread) {
    const FN(unfolded) *v = context;
    const cnn_conv2d *p = v->p;
    const FN(cnn_table) *t = v->conv.table;
    const ptrdiff_t L = t->lanes, taps = p->r * p->s, whole = v->area / L, cin = v->conv.cin;
    const REAL *x = v->conv.from.x + channel * p->h * p->w;
    REAL *line = v->lines + thread * v->vectors * L;
    REAL *u = v->u + channel / cin * v->vectors * v->pitch + channel % cin * taps * L;
    for (ptrdiff_t tap = 0; tap < taps; tap++, u += L) {
        ptrdiff_t row, col, i, j;
        const ptrdiff_t rows = FN(inside)(p->h, p->oh, p->stride_h, tap / p->s * p->dilation_h - p->pad_h, &row, &i);
        const ptrdiff_t cols = FN(inside)(p->w, p->ow, p->stride_w, tap % p->s * p->dilation_w - p->pad_w, &col, &j);
        const REAL *from = x;
        if (rows * cols < v->area || v->area < p->h * p->w) {
            if (rows * cols < v->area) memset(line, 0, (size_t)v->area * sizeof(REAL));
            t->copy_rows(line + row * p->ow + col, p->ow, 1, x + i * p->w + j, p->stride_h * p->w, p->stride_w, rows,
                         cols);
            from = line;
        }
        t->copy_rows(u, v->pitch, 1, from, L, 1, whole, L);
        t->copy_rows(u + whole * v->pitch, v->pitch, 1, from + whole * L, L, 1, 1, v->area - whole * L);
    }
}

static void FN(unfolded_task)(const void *context, ptrdiff_t task, int thread) {
    const FN(unfolded) *v = context;
    const FN(conv) *c = &v->conv;
    const FN(sink) *to = &c->to;
    const FN(cnn_table) *t = c->table;
    const ptrdiff_t L = t->lanes, group = task / v->blocks, block = task % v->blocks;
    const ptrdiff_t k = c->cout * block / v->blocks, rows = c->cout * (block + 1) / v->blocks - k;
    const ptrdiff_t channel = group * c->cout + k;
    for (ptrdiff_t image = 0; image < v->p->n; image++) {
        REAL *y = to->y + (image * v->p->k + channel) * to->edge.h * to->edge.w;
        const FN(cnn_gemm_tile) tile = {.c = to->pool ? v->sums + thread * v->sums_size : y,
                                        .a = c->w + channel * v->depth,
                                        .b = v->u + (image * c->groups + group) * v->vectors * v->pitch,
                                        .bias = c->bias ? c->bias + channel : NULL, .c_i = v->area, .c_j = L,
                                        .a_i = v->depth, .a_p = 1, .b_p = L, .b_j = v->pitch, .depth = v->depth,
                                        .relu = to->relu && !to->scale};
        FN(multiply)(t, tile, rows, v->area, NULL);
        for (ptrdiff_t i = 0; i < rows && to->scale; i++) {
            const REAL zero = 0, *shift = to->shift ? to->shift + channel + i : &zero;
            const FN(cnn_norm) norm = {.mean = &zero, .scale = to->scale + channel + i, .offset = shift, .shift = shift,
                                       .relu = to->relu};
            t->norm(tile.c + i * v->area, tile.c + i * v->area, &norm, v->area, 0, 0);
        }
        REAL *line = v->lines + thread * v->vectors * L;
        for (ptrdiff_t i = 0; i < rows && to->pool; i++)
            for (ptrdiff_t row = 0; row < to->edge.h; row++, y += to->edge.w) {
                const REAL *pair = tile.c + i * v->area + 2 * row * v->p->ow;
                t->pool_row(line, pair, pair + v->p->ow, to->edge.w, 0);
                memcpy(y, line, (size_t)to->edge.w * sizeof(REAL));
            }
    }
}

#define UNFOLDED_BYTES (8 << 20)  /* of u: part of a shared cache */
#define UNFOLDED_ROWS (256 << 10) /* of what a task reads once more, for the next image or to pool */
#define UNFOLDED_OUTPUTS 16       /* least output channels that make up for copying x */

/* What the two ways cost besides products of vectors, and in the time of one, measured with AVX-512. */
#define UNFOLD_VECTOR 12.0 /* to copy a vector of u */
#define TILE_FILTERS 530.0 /* to transform a vector of filters */
#define TILE_INPUT 480.0   /* a vector of tiles of an input channel, from images that were cut into patches */
#define TILE_OUTPUT 250.0  /* a row of a vector of tiles of an output channel, of which there are two more */

/* Whether a convolution goes this way, be it instead of n×n tiles, which few images do not fill. */
static int FN(unfolding_pays)(const cnn_conv2d *p, const cnn_conv2d_fusion *f, ptrdiff_t L, int n) {
    const double in = (double)(p->c / p->groups), out = (double)(p->k / p->groups);
    const double vectors = (double)(p->n * cnn_ceil_div(p->oh * p->ow, L)) * (double)(p->r * p->s) * in;
    if (f->x_lanes || f->y_lanes || 2 * p->n > L || out < UNFOLDED_OUTPUTS ||
        (p->c / p->groups <= PIXEL_CHANNELS && FN(pixels_pay)(p, f, L)) ||
        vectors * (double)(p->groups * L) * sizeof(REAL) > UNFOLDED_BYTES)
        return 0;
    if (!n) return 1;
    const ptrdiff_t m = n + 1 - p->r;
    FN(edge) grid = {.images = p->n, .h = p->oh, .w = p->ow};
    FN(choose_grid)(L, m, m, 0, &grid);
    const ptrdiff_t planes = cnn_ceil_div(FN(edge_items)(&grid), L);
    const double tiles = (double)(planes * cnn_ceil_div(grid.step_h, m) * cnn_ceil_div(grid.step_w, m));
    const double tiled = tiles * (n * n * in * out + TILE_INPUT * in + TILE_OUTPUT * (double)(m + 2) * out);
    return vectors * (out + UNFOLD_VECTOR) < 0.9 * (tiled + TILE_FILTERS * in * out / (double)L);
}

static cnn_status FN(unfolded_forward)(FN(unfolded) * v, const cnn_conv2d *p) {
    FN(conv) *c = &v->conv;
    const ptrdiff_t L = c->table->lanes, mb = c->table->gemm_mb;
    v->p = p;
    v->area = p->oh * p->ow;
    v->depth = c->cin * p->r * p->s;
    v->pitch = (v->depth + 1 - v->depth % 2) * L; /* an odd number of vectors: spreads over the cache's sets */
    v->vectors = cnn_ceil_div(v->area, L);
    const double work = (double)(p->n * p->k) * (double)v->depth * (double)(v->vectors * L);
    const int threads = cnn_threads_for(work / 4);
    const ptrdiff_t tasks = cnn_ceil_div(threads > 1 ? TASKS_PER_THREAD * threads : 1, c->groups);
    const ptrdiff_t kept = cnn_max(p->n > 1 ? v->depth : 0, c->to.pool ? v->area : 0) * (ptrdiff_t)sizeof(REAL);
    const ptrdiff_t most = cnn_ceil_div(c->cout, mb);
    v->blocks = cnn_min(cnn_max(tasks, cnn_ceil_div(c->cout * kept, UNFOLDED_ROWS)), most);
    v->sums_size = c->to.pool ? cnn_ceil_div(c->cout, v->blocks) * v->area + 2 * L : 0; /* pooling reads two vectors */
    cnn_carver carver = {0};
    for (int pass = 0; pass < 2; pass++) {
        if (pass && !(carver.base = carver.overflow ? NULL : cnn_workspace(carver.used))) return CNN_NO_MEMORY;
        carver.used = 0;
        v->u = cnn_carve(&carver, p->n * c->groups * v->vectors * v->pitch, sizeof(REAL));
        v->lines = cnn_carve(&carver, threads * v->vectors * L, sizeof(REAL));
        v->sums = cnn_carve(&carver, threads * v->sums_size, sizeof(REAL));
    }
    cnn_parallel_for(threads, p->n * p->c, FN(unfold), v);
    cnn_parallel_for(threads, c->groups * v->blocks, FN(unfolded_task), v);
    return CNN_OK;
}
