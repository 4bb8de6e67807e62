/* Convolution forward of few images in NCHW, whose filters are not used often enough to be packed or transformed:
 * y = w u, a product that reads each filter where it is, once, from memory.
 *
 * 1. per input channel: u [image][group][vector][input channel, tap][L], the pixels that outputs read through a tap; the
 *    last ones, if they would leave a vector nearly empty, in rest [image][group][pixel][input channel, tap]
 * 2. per block of output channels: the product with all images, then normalisation, ReLU and pooling */

typedef struct {
    const FN(cnn_table) * table;
    const cnn_conv2d *p;
    const cnn_conv2d_fusion *f;
    REAL *y;
    const REAL *x, *w, *b, *scale;
    ptrdiff_t cin, cout, area, depth; /* channels of a group; pixels of an output, numbers of a filter */
    ptrdiff_t vectors, pitch, left;   /* of pixels in u, and how far apart they are; pixels in rest */
    ptrdiff_t blocks;                 /* of a group's output channels */
    ptrdiff_t line_size, sums_size;   /* per thread; sums: of a task and an image, before pooling */
    REAL *u, *rest, *lines, *sums;
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
    const FN(cnn_table) *t = v->table;
    const ptrdiff_t L = t->lanes, taps = p->r * p->s, whole = v->area / L, place = channel / v->cin;
    const REAL *x = v->x + channel * p->h * p->w;
    REAL *line = v->lines + thread * v->line_size;
    REAL *u = v->u + place * v->vectors * v->pitch + channel % v->cin * taps * L;
    REAL *rest = v->rest + place * v->left * v->depth + channel % v->cin * taps;
    for (ptrdiff_t tap = 0; tap < taps; tap++, u += L, rest++) {
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
        if (v->left) t->copy_rows(rest, v->depth, 1, from + whole * L, 1, 1, v->left, 1);
        else t->copy_rows(u + whole * v->pitch, v->pitch, 1, from + whole * L, L, 1, 1, v->area - whole * L);
    }
}

static void FN(unfolded_task)(const void *context, ptrdiff_t task, int thread) {
    const FN(unfolded) *v = context;
    const cnn_conv2d *p = v->p;
    const FN(cnn_table) *t = v->table;
    const int pool = v->f->pool, relu = v->f->relu;
    const ptrdiff_t L = t->lanes, group = task / v->blocks, block = task % v->blocks, h = p->oh / 2, w = p->ow / 2;
    const ptrdiff_t k = v->cout * block / v->blocks, rows = v->cout * (block + 1) / v->blocks - k;
    const ptrdiff_t channel = group * v->cout + k;
    for (ptrdiff_t image = 0; image < p->n; image++) {
        REAL *y = v->y + (image * p->k + channel) * (pool ? h * w : v->area);
        const FN(cnn_gemm_tile) tile = {.c = pool ? v->sums + thread * v->sums_size : y, .a = v->w + channel * v->depth,
                                        .b = v->u + (image * p->groups + group) * v->vectors * v->pitch,
                                        .bias = v->b && !v->scale ? v->b + channel : NULL, .c_i = v->area, .c_j = L,
                                        .a_i = v->depth, .a_p = 1, .b_p = L, .b_j = v->pitch, .depth = v->depth,
                                        .relu = relu && !v->scale};
        FN(multiply)(t, tile, rows, v->area - v->left, NULL);
        REAL *sums = tile.c, *line = v->lines + thread * v->line_size;
        const FN(cnn_dots) dots = {line, v->rest + (image * p->groups + group) * v->left * v->depth, tile.a, tile.bias,
                                   v->left, rows, v->depth, tile.relu};
        t->dots(&dots, 0, rows);
        t->copy_rows(sums + v->area - v->left, 1, v->area, line, rows, 1, v->left, rows);
        for (ptrdiff_t i = 0; i < rows; i++, sums += v->area) {
            FN(scale_sums)(t, sums, v->area, v->scale, v->b, channel + i, relu);
            for (ptrdiff_t row = 0; pool && row < h; row++, y += w) {
                t->pool_row(line, sums + 2 * row * p->ow, sums + (2 * row + 1) * p->ow, w, 0);
                memcpy(y, line, (size_t)w * sizeof(REAL));
            }
        }
    }
}

#define UNFOLDED_BYTES (8 << 20)  /* of u: part of a shared cache */
#define UNFOLDED_ROWS (256 << 10) /* of what a task reads once more, for other pixels or to pool */
#define UNFOLDED_OUTPUTS 16       /* least output channels that make up for copying x */

/* What the two ways cost besides products of vectors, and in the time of one, measured with AVX-512. */
#define UNFOLD_VECTOR 12.0 /* to copy a vector of u */
#define TILE_FILTERS 530.0 /* to transform a vector of filters */
#define TILE_INPUT 480.0   /* a vector of tiles of an input channel, from images that were cut into patches */
#define TILE_OUTPUT 250.0  /* a row of a vector of tiles of an output channel, of which there are two more */

/* Whether a convolution goes this way, be it instead of n×n tiles, which few images do not fill. */
ONCE static int FN(unfolding_pays)(const cnn_conv2d *p, const cnn_conv2d_fusion *f, ptrdiff_t L, int n) {
    const double in = (double)(p->c / p->groups), out = (double)(p->k / p->groups);
    const double vectors = (double)(p->n * cnn_ceil_div(p->oh * p->ow, L)) * (double)(p->r * p->s) * in;
    if (f->x_lanes || f->y_lanes || 2 * p->n > L || out < UNFOLDED_OUTPUTS ||
        (p->n > 1 && FN(skips_pixels)(p)) ||
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

ONCE static cnn_status FN(unfolded_forward)(REAL *y, const REAL *x, const REAL *w, const REAL *b, const REAL *scale,
                                            const cnn_conv2d *p, const cnn_conv2d_fusion *f) {
    FN(unfolded) v = {FN(cnn_kernels)(), p, f, y, x, w, b, scale, .cin = p->c / p->groups, .cout = p->k / p->groups,
                      .area = p->oh * p->ow};
    const ptrdiff_t L = v.table->lanes, size = (ptrdiff_t)sizeof(REAL);
    v.depth = v.cin * p->r * p->s;
    v.pitch = (v.depth / 2 * 2 + 1) * L; /* an odd number of vectors: spreads over the cache's sets */
    v.left = v.area % L <= L / 4 ? v.area % L : 0; /* as dot products they cost less than a vector */
    v.vectors = cnn_ceil_div(v.area - v.left, L);
    const double work = (double)(p->n * p->k) * (double)v.depth * (double)(v.vectors * L);
    const int threads = cnn_threads_for(work / 4);
    const ptrdiff_t tasks = cnn_ceil_div(threads > 1 ? TASKS_PER_THREAD * threads : 1, p->groups);
    const ptrdiff_t kept = cnn_max(p->n > 1 || v.left ? v.depth : 0, f->pool ? v.area : 0) * size;
    const ptrdiff_t most = cnn_ceil_div(v.cout, v.table->gemm_mb);
    v.blocks = cnn_min(cnn_max(tasks, cnn_ceil_div(v.cout * kept, UNFOLDED_ROWS)), most);
    const ptrdiff_t rows = cnn_ceil_div(v.cout, v.blocks);
    v.line_size = cnn_max(cnn_ceil_div(v.area, L) * L, v.left * rows);
    v.sums_size = f->pool ? rows * v.area + 2 * L : 0; /* pooling reads two vectors */
    cnn_carver carver = {0};
    for (int pass = 0; pass < 2; pass++) {
        if (pass && !(carver.base = carver.overflow ? NULL : cnn_workspace(carver.used))) return CNN_NO_MEMORY;
        carver.used = 0;
        v.u = cnn_carve(&carver, p->n * p->groups * v.vectors * v.pitch, sizeof(REAL));
        v.rest = cnn_carve(&carver, p->n * p->groups * v.left * v.depth, sizeof(REAL));
        v.lines = cnn_carve(&carver, threads * v.line_size, sizeof(REAL));
        v.sums = cnn_carve(&carver, threads * v.sums_size, sizeof(REAL));
    }
    cnn_parallel_for(threads, p->n * p->c, FN(unfold), &v);
    cnn_parallel_for(threads, p->groups * v.blocks, FN(unfolded_task), &v);
    return CNN_OK;
}
