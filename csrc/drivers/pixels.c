/* Convolution forward of NCHW with neighbouring columns of one image in lanes: for images of few channels, such as a net's
 * first layer has, lane layout would cost more than it saves, and for few images it would leave lanes empty.
 *
 * A task is an image, a conv group and a strip of output rows. What the strip reads is copied into scratch, padded and with
 * rows and columns split by the strides, so that each tap is a constant distance. Then register tiles of MB output
 * channels × NB vectors of columns (tap_tile), weights being packed as in panels.c. Rows that vectors nearly divide are
 * written to y at once; the others follow each other without a gap, but for the columns that the filter reaches beyond, so
 * that a vector may begin in one row and end in the next, and are cut out of scratch. */

typedef struct {
    FN(conv) conv;
    FN(panels) weights;
    const cnn_conv2d *p;
    int merged;                      /* rows follow each other in vectors */
    ptrdiff_t pitch, phase, x_plane; /* of x in scratch: a row of a phase, a phase, all phases of a channel */
    ptrdiff_t strip, strips, row_size, below, per_thread;
    ptrdiff_t *taps;
    REAL *scratch;
} FN(pixels);

#define PIXEL_CHANNELS 4 /* so many are few */

/* The columns that are computed for a row of outputs: whole vectors, or those of merged rows, where they are fewer by far. */
static ptrdiff_t FN(pixels_columns)(const cnn_conv2d *p, ptrdiff_t L) {
    const ptrdiff_t whole = cnn_ceil_div(p->ow, L) * L, merged = p->ow + (p->s - 1) * p->dilation_w / p->stride_w;
    return 16 * merged < 15 * whole && p->ow >= L ? merged : whole;
}

/* Whether a convolution goes this way: images would leave half of the lanes empty and columns less than a quarter, or
 * channels are few and columns fill nearly all. */
static int FN(pixels_pay)(const cnn_conv2d *p, const cnn_conv2d_fusion *f, ptrdiff_t L) {
    const int few_images = 2 * p->n <= L && 4 * p->ow >= 3 * cnn_ceil_div(p->ow, L) * L;
    const int few_channels = p->c / p->groups <= PIXEL_CHANNELS && 16 * p->ow >= 15 * FN(pixels_columns)(p, L);
    return (few_images || few_channels) && !f->x_lanes && !f->y_lanes;
}

static void FN(pixels_fill)(const FN(pixels) * v, REAL *scratch, ptrdiff_t image, ptrdiff_t group, ptrdiff_t row) {
    const FN(conv) *c = &v->conv;
    const cnn_conv2d *p = v->p;
    const ptrdiff_t split_h = p->stride_h, split_w = p->stride_w;
    const ptrdiff_t height = (v->strip - 1) * split_h + (p->r - 1) * p->dilation_h + 1;
    const ptrdiff_t width = (p->ow - 1) * split_w + (p->s - 1) * p->dilation_w + 1;
    const FN(placing) rows = FN(place)(p->h, p->pad_h - row * split_h, 1, height);
    const FN(placing) cols = FN(place)(p->w, p->pad_w, 1, width);
    const REAL *src = c->from.x + (image * c->groups + group) * c->cin * p->h * p->w + rows.first * p->w + cols.first;
    memset(scratch, 0, (size_t)(c->cin * v->x_plane) * sizeof(REAL));
    for (ptrdiff_t channel = 0; channel < c->cin; channel++, scratch += v->x_plane, src += p->h * p->w)
        for (ptrdiff_t i = 0; i < cnn_min(split_h, rows.count); i++)
            for (ptrdiff_t j = 0; j < cnn_min(split_w, cols.count); j++) {
                const ptrdiff_t r = rows.at + i, s = cols.at + j;
                REAL *phase = scratch + (r % split_h * split_w + s % split_w) * v->phase;
                c->table->copy_rows(phase + r / split_h * v->pitch + s / split_w, v->pitch, 1, src + i * p->w + j,
                                    split_h * p->w, split_w, cnn_ceil_div(rows.count - i, split_h),
                                    cnn_ceil_div(cols.count - j, split_w));
            }
}

/* `lines` rows of an output channel, or with pooling half as many, on the way to y; they may be there already. */
static void FN(pixels_deliver)(const FN(pixels) * v, REAL *y, REAL *rows, ptrdiff_t channel, ptrdiff_t lines) {
    const FN(sink) *to = &v->conv.to;
    const FN(cnn_table) *t = v->conv.table;
    const ptrdiff_t step = to->pool ? 2 : 1;
    for (ptrdiff_t r = 0; r < lines && (to->scale || to->pool || to->relu); r += step) {
        REAL *row = rows + r * v->pitch, *below = row + v->below;
        FN(scale_sums)(t, row, v->p->ow, to->scale, to->shift, channel, 0);
        if (to->pool) FN(scale_sums)(t, below, v->p->ow, to->scale, to->shift, channel, 0);
        if (to->pool) t->pool_row(row, row, below, to->edge.w, to->relu);
        else if (to->relu) t->relu(row, row, v->p->ow, 0);
    }
    if (rows != y) t->copy_rows(y, to->edge.w, 1, rows, step * v->pitch, 1, lines / step, to->edge.w);
}

/* Columns [0, n) of the outputs of a register tile's channels, of x that begins at `x`, to c. The lines of y that they
 * will go to, `size` elements of each channel, are fetched meanwhile. */
static void FN(pixels_sums)(const FN(pixels) * v, FN(cnn_tap_tile) * tile, ptrdiff_t count, const REAL *x, REAL *c,
                            ptrdiff_t n, const REAL *y, ptrdiff_t size) {
    const FN(cnn_table) *t = v->conv.table;
    const ptrdiff_t L = t->lanes, vectors = cnn_ceil_div(n, L), tiles = cnn_ceil_div(vectors, t->gemm_nb);
    for (ptrdiff_t i = 0; i < tiles; i++) {
        const ptrdiff_t from = vectors * i / tiles, to = vectors * (i + 1) / tiles, at = size * i / tiles;
        for (ptrdiff_t k = 0; k < count; k++)
            FN(fetch_output)(y + k * v->conv.to.edge.h * v->conv.to.edge.w + at, size * (i + 1) / tiles - at);
        tile->x = x + from * L;
        tile->c = c + from * L;
        t->tap_tile(tile, (int)count, (int)(to - from));
    }
}

static void FN(pixels_task)(const void *context, ptrdiff_t task, int thread) {
    const FN(pixels) *v = context;
    const FN(conv) *c = &v->conv;
    const FN(cnn_table) *t = c->table;
    const cnn_conv2d *p = v->p;
    const ptrdiff_t L = t->lanes, mb = t->gemm_mb, area = p->r * p->s, width = c->to.edge.w, plane = c->to.edge.h * width;
    const ptrdiff_t group = task / v->strips % c->groups, image = task / (v->strips * c->groups);
    const ptrdiff_t first = task % v->strips * v->strip, end = cnn_min(p->oh, first + v->strip);
    const ptrdiff_t lines = c->to.pool ? 2 : 1, together = v->merged ? (end - first) / lines * lines : lines;
    REAL *x = v->scratch + thread * v->per_thread, *rows = x + c->cin * v->x_plane;
    FN(pixels_fill)(v, x, image, group, first);
    FN(cnn_tap_tile) tile = {.c_j = L, .tap = v->taps, .taps = area, .channels = c->cin, .x_c = v->x_plane, .x_p = L};
    for (ptrdiff_t row = first; row + lines <= end; row += together)
        for (ptrdiff_t block = 0; block < v->weights.blocks; block++) {
            const ptrdiff_t k = FN(block_at)(&v->weights, block), count = FN(block_at)(&v->weights, block + 1) - k;
            const ptrdiff_t channel = group * c->cout + k;
            const REAL *from = x + (row - first) * v->pitch;
            REAL *y = c->to.y + (image * p->k + channel) * plane + row / lines * width;
            /* Whole vectors reach into the next row, which is written after this one, unless it is another task's. */
            const int in_place = !v->merged && lines == 1 && (p->ow % L == 0 || row + 1 < end);
            tile.c_i = in_place ? plane : v->row_size;
            tile.a = v->weights.packed + (group * v->weights.blocks + block) * c->cin * area * mb;
            tile.bias = c->bias ? c->bias + channel : NULL;
            if (v->merged)
                FN(pixels_sums)(v, &tile, count, from, rows, (together - 1) * v->pitch + p->ow, y, together / lines * width);
            else
                for (ptrdiff_t i = 0; i < lines; i++)
                    FN(pixels_sums)(v, &tile, count, from + i * v->pitch, in_place ? y : rows + i * v->below, p->ow, y, width);
            for (ptrdiff_t i = 0; i < count; i++)
                FN(pixels_deliver)(v, y + i * plane, in_place ? y + i * plane : rows + i * v->row_size, channel + i, together);
        }
}

#define PIXEL_BYTES (256 << 10) /* of x that a strip reads: part of a second-level cache */

static cnn_status FN(pixels_forward)(FN(pixels) * v, const cnn_conv2d *p) {
    FN(conv) *c = &v->conv;
    const ptrdiff_t L = c->table->lanes, area = p->r * p->s, size = (ptrdiff_t)sizeof(REAL);
    v->p = p;
    const ptrdiff_t mb = c->table->gemm_mb, columns = FN(pixels_columns)(p, L);
    const ptrdiff_t reach_h = (p->r - 1) * p->dilation_h, reach_w = (p->s - 1) * p->dilation_w;
    v->weights = (FN(panels)){.conv = c, .phases_h = 1, .phases_w = 1};
    FN(cut_blocks)(&v->weights, c->cout, mb);
    v->merged = columns % L != 0;
    v->pitch = v->merged ? columns : columns + cnn_ceil_div(reach_w / p->stride_w, L) * L;
    const double work = (double)p->n * (double)(p->k * c->cin) * (double)area * (double)(p->oh * p->ow);
    const int threads = cnn_threads_for(work / 4);
    const ptrdiff_t line_bytes = c->cin * p->stride_w * v->pitch * size, planes = p->n * p->groups;
    const ptrdiff_t fit = cnn_max(1, (PIXEL_BYTES / line_bytes - reach_h - 1) / p->stride_h + 1);
    const ptrdiff_t tasks = threads > 1 ? TASKS_PER_THREAD * threads : 1;
    v->strips = cnn_max(cnn_ceil_div(p->oh, fit), cnn_min(p->oh, cnn_ceil_div(tasks, planes)));
    v->strip = cnn_ceil_div(cnn_ceil_div(p->oh, v->strips), 2) * 2;
    v->strips = cnn_ceil_div(p->oh, v->strip);
    v->phase = (v->strip + reach_h / p->stride_h) * v->pitch + L; /* vectors reach beyond merged rows */
    v->x_plane = p->stride_h * p->stride_w * v->phase;
    v->row_size = cnn_ceil_div(v->merged ? v->strip * v->pitch : p->ow, L) * L + L; /* pooling reads two vectors at a time */
    v->below = v->merged ? v->pitch : mb * v->row_size;
    v->per_thread = c->cin * v->x_plane + (v->merged ? 1 : 2) * mb * v->row_size;
    cnn_carver carver = {0};
    for (int pass = 0; pass < 2; pass++) {
        if (pass && !(carver.base = carver.overflow ? NULL : cnn_workspace(carver.used))) return CNN_NO_MEMORY;
        carver.used = 0;
        v->taps = cnn_carve(&carver, area, sizeof *v->taps);
        v->weights.packed = cnn_carve(&carver, p->groups * v->weights.blocks * c->cin * area * mb, sizeof(REAL));
        v->scratch = cnn_carve(&carver, threads * v->per_thread, sizeof(REAL));
    }
    for (ptrdiff_t t = 0; t < area; t++) {
        const ptrdiff_t r = t / p->s * p->dilation_h, s = t % p->s * p->dilation_w;
        v->taps[t] = (r % p->stride_h * p->stride_w + s % p->stride_w) * v->phase + r / p->stride_h * v->pitch + s / p->stride_w;
    }
    FN(panels_weights)(&v->weights, threads);
    cnn_parallel_for(threads, planes * v->strips, FN(pixels_task), v);
    return CNN_OK;
}
