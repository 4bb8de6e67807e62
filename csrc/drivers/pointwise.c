/* Filters of 1×1 without padding, NCHW to NCHW, as matrix products of planes. Lanes of images cost more than that where
 * images are few, where a stride leaves pixels out, or where planes fill vectors nearly.
 *
 *   forward  y = w x     per image: rows are output channels, columns pixels; a sum over input channels
 *   dx       dx = w' dy  likewise, input and output channels exchanged
 *   dw       dw = dy x'  rows are output channels, columns input channels; a sum over pixels, and over images in order
 *
 * Of x only the pixels that outputs read are read; the others of dx are zeros. */

typedef struct {
    const FN(cnn_table) * table;
    const cnn_conv2d *p;
    int gradient, relu;
    REAL *y;                       /* or dx */
    const REAL *x, *w, *b, *scale; /* x or dy */
    ptrdiff_t depth, outputs;      /* channels of a group: those that are added up, and those that come out */
    ptrdiff_t bands, blocks;       /* of rows of pixels, of outputs */
    ptrdiff_t pitch, scratch_size; /* pitch: pixels of a band, up to whole vectors */
    REAL *scratch;
} FN(pointwise);

static void FN(pointwise_task)(const void *context, ptrdiff_t task, int thread) {
    const FN(pointwise) *v = context;
    const cnn_conv2d *p = v->p;
    const FN(cnn_table) *t = v->table;
    const ptrdiff_t block = task % v->blocks, band = task / v->blocks % v->bands, place = task / (v->blocks * v->bands);
    const ptrdiff_t k = v->outputs * block / v->blocks, rows = v->outputs * (block + 1) / v->blocks - k;
    const ptrdiff_t row = p->oh * band / v->bands, end = p->oh * (band + 1) / v->bands, pixels = (end - row) * p->ow;
    const ptrdiff_t group = place % p->groups, channel = group * v->outputs + k;
    const ptrdiff_t of_x = p->h * p->w, of_y = p->oh * p->ow, at_x = row * p->stride_h * p->w, at_y = row * p->ow;
    const int strip = v->gradient && of_x > of_y; /* sums go through a strip */
    const ptrdiff_t source = v->gradient ? of_y : of_x, target = v->gradient ? of_x : of_y;
    const REAL *x = v->x + place * v->depth * source + (v->gradient ? at_y : at_x);
    REAL *y = v->y + (place * v->outputs + k) * target + (v->gradient ? at_x : at_y);
    REAL *panel = v->scratch + thread * v->scratch_size, *sums = panel + v->depth * v->pitch;
    if (of_x == of_y || v->gradient) t->copy_rows(panel, v->pitch, 1, x, source, 1, v->depth, pixels);
    else
        for (ptrdiff_t i = 0; i < v->depth; i++)
            t->copy_rows(panel + i * v->pitch, p->ow, 1, x + i * of_x, p->stride_h * p->w, p->stride_w, end - row, p->ow);
    FN(cnn_gemm_tile) tile = {.c = strip ? sums : y, .c_i = strip ? v->pitch : target, .c_j = t->lanes, .depth = v->depth,
                              .a = v->gradient ? v->w + group * v->depth * v->outputs + k : v->w + channel * v->depth,
                              .a_i = v->gradient ? 1 : v->depth, .a_p = v->gradient ? v->outputs : 1,
                              .b = panel, .b_p = v->pitch, .b_j = t->lanes, .relu = v->relu && !v->scale,
                              .bias = v->b && !v->scale ? v->b + channel : NULL};
    FN(multiply)(t, tile, rows, pixels, NULL);
    for (ptrdiff_t i = 0; i < rows; i++, y += target, sums += v->pitch) {
        FN(scale_sums)(t, y, pixels, v->scale, v->b, channel + i, v->relu);
        if (strip) {
            memset(y, 0, (size_t)((end < p->oh ? end * p->stride_h * p->w : of_x) - at_x) * sizeof(REAL));
            t->copy_rows(y, p->stride_h * p->w, p->stride_w, sums, p->ow, 1, end - row, p->ow);
        }
    }
}

#define POINTWISE_BYTES (256 << 10) /* of x in a band: part of a second-level cache */

static cnn_status FN(pointwise_run)(FN(pointwise) * v) {
    const cnn_conv2d *p = v->p;
    const ptrdiff_t L = v->table->lanes, places = p->n * p->groups, area = p->oh * p->ow, size = (ptrdiff_t)sizeof(REAL);
    const int threads = cnn_threads_for((double)places * (double)area * (double)v->depth * (double)v->outputs / 4);
    const ptrdiff_t tasks = cnn_ceil_div(threads > 1 ? TASKS_PER_THREAD * threads : 1, places);
    const ptrdiff_t fit = cnn_ceil_div(v->depth * area * size, POINTWISE_BYTES), most = area / (v->table->gemm_nb * L);
    v->bands = cnn_min(p->oh, cnn_max(fit, cnn_min(tasks, most)));
    v->blocks = cnn_min(cnn_ceil_div(tasks, v->bands), cnn_ceil_div(v->outputs, v->table->gemm_mb));
    /* An odd number of vectors: spreads channels over the cache's sets. */
    v->pitch = (cnn_ceil_div(cnn_ceil_div(p->oh, v->bands) * p->ow, L) | 1) * L;
    v->scratch_size = (v->depth + (v->gradient ? cnn_ceil_div(v->outputs, v->blocks) : 0)) * v->pitch;
    cnn_carver carver = {0};
    for (int pass = 0; pass < 2; pass++) {
        if (pass && !(carver.base = carver.overflow ? NULL : cnn_workspace(carver.used))) return CNN_NO_MEMORY;
        carver.used = 0;
        v->scratch = cnn_carve(&carver, threads * v->scratch_size, sizeof(REAL));
    }
    cnn_parallel_for(threads, places * v->bands * v->blocks, FN(pointwise_task), v);
    return CNN_OK;
}

#define POINTWISE_PIXELS 512 /* about so many are added up at a time: a panel of them stays in a second-level cache */

typedef struct {
    const FN(cnn_table) * table;
    const cnn_conv2d *p;
    REAL *dw;
    const REAL *x, *dy;
    ptrdiff_t cin, cout, panels, blocks, bands; /* of a group; of input channels, of outputs, of rows of pixels */
    ptrdiff_t pixels;                           /* of a band, at most */
    REAL *scratch;
} FN(pointwise_dw);

static void FN(pointwise_dw_task)(const void *context, ptrdiff_t task, int thread) {
    const FN(pointwise_dw) *v = context;
    const cnn_conv2d *p = v->p;
    const FN(cnn_table) *t = v->table;
    const ptrdiff_t L = t->lanes, area = p->oh * p->ow, image = p->h * p->w, vectors = cnn_ceil_div(v->cin, L);
    const ptrdiff_t block = task % v->blocks, panel = task / v->blocks % v->panels, group = task / (v->blocks * v->panels);
    const ptrdiff_t k = v->cout * block / v->blocks, rows = v->cout * (block + 1) / v->blocks - k;
    const ptrdiff_t c = vectors * panel / v->panels * L, end = cnn_min(vectors * (panel + 1) / v->panels * L, v->cin);
    REAL *lanes = v->scratch + thread * (t->gemm_nb + 1) * v->pixels * L, *line = lanes + t->gemm_nb * v->pixels * L;
    FN(cnn_gemm_tile) tile = {.c = v->dw + (group * v->cout + k) * v->cin + c, .c_i = v->cin, .c_j = L, .a_i = area, .a_p = 1,
                              .b = lanes, .b_p = L, .apart = 1};
    for (ptrdiff_t i = 0; i < p->n * v->bands; i++) {
        const ptrdiff_t n = i / v->bands, row = p->oh * (i % v->bands) / v->bands, next = p->oh * (i % v->bands + 1) / v->bands;
        const REAL *x = v->x + (n * p->c + group * v->cin + c) * image + row * p->stride_h * p->w;
        tile.depth = (next - row) * p->ow;
        tile.b_j = tile.depth * L;
        for (ptrdiff_t j = 0; c + j < end; j += L, x += L * image) {
            const int count = (int)cnn_min(L, end - c - j);
            for (ptrdiff_t l = 0; area < image && l < count; l++)
                t->copy_rows(line + l * tile.depth, p->ow, 1, x + l * image, p->stride_h * p->w, p->stride_w, next - row, p->ow);
            t->lanes_from_planes(lanes + j * tile.depth, area < image ? line : x, area < image ? tile.depth : image, count,
                                 tile.depth);
        }
        tile.a = v->dy + (n * p->k + group * v->cout + k) * area + row * p->ow;
        FN(multiply)(t, tile, rows, end - c, NULL);
        tile.accumulate = 1;
    }
}

static cnn_status FN(pointwise_dw_run)(FN(pointwise_dw) * v) {
    const cnn_conv2d *p = v->p;
    const ptrdiff_t L = v->table->lanes, nb = v->table->gemm_nb, area = p->oh * p->ow;
    const double work = (double)(p->n * area) * (double)p->k * (double)v->cin;
    const int threads = cnn_threads_for(work / 4);
    v->panels = cnn_ceil_div(cnn_ceil_div(v->cin, L), nb);
    const ptrdiff_t tasks = cnn_ceil_div(threads > 1 ? TASKS_PER_THREAD * threads : 1, p->groups * v->panels);
    v->blocks = cnn_min(tasks, cnn_ceil_div(v->cout, v->table->gemm_mb));
    v->bands = cnn_min(p->oh, cnn_ceil_div(area, POINTWISE_PIXELS));
    v->pixels = cnn_ceil_div(p->oh, v->bands) * p->ow;
    cnn_carver carver = {0};
    for (int pass = 0; pass < 2; pass++) {
        if (pass && !(carver.base = carver.overflow ? NULL : cnn_workspace(carver.used))) return CNN_NO_MEMORY;
        carver.used = 0;
        v->scratch = cnn_carve(&carver, threads * (nb + 1) * v->pixels * L, sizeof(REAL));
    }
    cnn_parallel_for(threads, p->groups * v->panels * v->blocks, FN(pointwise_dw_task), v);
    return CNN_OK;
}

/* Whether 1×1 filters leave pixels of x out. */
static int FN(skips_pixels)(const cnn_conv2d *p) { return p->r * p->s == 1 && p->oh * p->ow < p->h * p->w; }

static int FN(pointwise_pays)(const cnn_conv2d *p, const cnn_conv2d_fusion *f, int gradient) {
    if (p->r * p->s > 1 || p->pad_h || p->pad_w || f->x_lanes || f->y_lanes || f->pool || (gradient && f->relu)) return 0;
    const ptrdiff_t L = FN(cnn_kernels)()->lanes, area = p->oh * p->ow;
    /* A row of all channels is what a thread copies at least. */
    if ((p->c + p->k) / p->groups * p->ow > SLAB_BYTES / (ptrdiff_t)sizeof(REAL)) return 0;
    return 2 * p->n <= L || FN(skips_pixels)(p) || (area % L && 10 * area > 9 * cnn_ceil_div(area, L) * L);
}
