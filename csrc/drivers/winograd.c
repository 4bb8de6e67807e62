/* Convolution of stride 1 by Winograd's tiles (kernels/winograd.c), forward and input gradient.
 *
 * The input gradient at stride 1 is a forward convolution of dy with the filters turned by 180 degrees, input and output
 * channels exchanged, and padding taps - 1 - pad.
 *
 * 1. filters -> u [36][group][output channel][input channel], a frequency being one element of the 6×6 tile
 * 2. images  -> lane planes with their padding, one slab of images at a time
 * 3. per unit (L images, conv group, some tiles T): v [36][input channel][T][L]; then for KB output channels at a time,
 *    product [36][KB][T][L], one matrix product per frequency, and from there to NCHW.
 *
 * A unit's arrays fit a second-level cache where the channels are few. Where there are fewer units than threads could
 * use, the channels and frequencies of one unit are shared out instead. Neither changes any sum. */

#define FREQUENCIES 36

typedef struct {
    const FN(cnn_table) * table;
    ptrdiff_t groups, cin, cout; /* channels per conv group */
    FN(edge) from, to; /* how x and y lie in lanes; their images, channels, h, w, and from's padding are given */
    int taps, flip;
    ptrdiff_t w_out, w_in, w_group;
    REAL *y;
    const REAL *x, *w, *bias;
    /* derived */
    ptrdiff_t m, tiles_h, tiles_w, height, width; /* m×m outputs a tile; height, width of a padded lane plane */
    ptrdiff_t unit_h, unit_w, units_h, units_w;   /* tiles of a unit, units of a plane */
    ptrdiff_t u_f, v_f, kb, first, unit;          /* first: lane group of the slab; unit: the one that is shared out */
    REAL *u, *filters, *source, *scratch, *staging;
    ptrdiff_t filters_size, staging_size, v_size, product_size, strip_size, scratch_size;
} FN(winograd);

static void FN(wino_pack_filters)(const void *context, ptrdiff_t task, int thread) {
    const FN(winograd) *p = context;
    const ptrdiff_t L = p->table->lanes, group = task / p->cout, out = task % p->cout, area = p->taps * p->taps;
    REAL *lanes = p->filters + thread * p->filters_size;
    for (ptrdiff_t c = 0; c < p->cin; c += L) {
        const int n = (int)cnn_min(L, p->cin - c);
        p->table->lanes_from_planes(lanes, p->w + group * p->w_group + out * p->w_out + c * p->w_in, p->w_in, n, area);
        p->table->wino_weights(p->u + task * p->cin + c, p->u_f, lanes, p->taps, p->flip, n);
    }
}

static void FN(wino_pack_source)(const void *context, ptrdiff_t task, int thread) {
    const FN(winograd) *p = context;
    const ptrdiff_t channels = p->groups * p->cin;
    FN(pack_plane)(p->table, &p->from, p->source + task * p->height * p->width * p->table->lanes, p->x,
                   p->first + task / channels, task % channels, p->staging + thread * p->staging_size);
}

/* Where a unit lies: its lane group and conv group, its first tile, and how many tiles it has each way. */
typedef struct {
    ptrdiff_t lane_group, group, row, col, rows, cols;
} FN(wino_place);

static FN(wino_place) FN(wino_unit)(const FN(winograd) * p, ptrdiff_t unit) {
    const ptrdiff_t col = unit % p->units_w, row = unit / p->units_w % p->units_h, rest = unit / (p->units_w * p->units_h);
    FN(wino_place) place = {.lane_group = rest / p->groups, .group = rest % p->groups, .row = row * p->unit_h};
    place.col = p->tiles_w * col / p->units_w;
    place.cols = p->tiles_w * (col + 1) / p->units_w - place.col;
    place.rows = cnn_min(p->unit_h, p->tiles_h - place.row);
    return place;
}

static void FN(wino_transform)(const FN(winograd) * p, ptrdiff_t unit, ptrdiff_t c, REAL *v) {
    const FN(wino_place) at = FN(wino_unit)(p, unit);
    const ptrdiff_t L = p->table->lanes;
    const REAL *x = p->source + ((at.lane_group * p->groups + at.group) * p->cin + c) * p->height * p->width * L;
    for (ptrdiff_t r = 0; r < at.rows; r++)
        p->table->wino_input(v + (c * at.rows + r) * at.cols * L, p->v_f,
                             x + ((at.row + r) * p->m * p->width + at.col * p->m) * L, p->width * L, p->m * L, at.cols);
}

/* The products of frequency f for output channels [k0, k1); product holds [36][k1 - k0][T][L]. */
static void FN(wino_multiply)(const FN(winograd) * p, ptrdiff_t unit, ptrdiff_t f, ptrdiff_t k0, ptrdiff_t k1,
                              const REAL *v, REAL *product) {
    const FN(wino_place) at = FN(wino_unit)(p, unit);
    const ptrdiff_t L = p->table->lanes, tiles = at.rows * at.cols, mb = p->table->gemm_mb, nb = p->table->gemm_nb;
    const ptrdiff_t rows = cnn_ceil_div(k1 - k0, mb), panels = cnn_ceil_div(tiles, nb);
    FN(cnn_gemm_tile) tile = {.c_i = tiles * L, .c_j = L, .a_i = p->cin, .a_p = 1, .b_p = tiles * L, .b_j = L,
                              .depth = p->cin, .tail = (int)L};
    for (ptrdiff_t j = 0; j < panels; j++) {
        const ptrdiff_t from = tiles * j / panels, to = tiles * (j + 1) / panels;
        tile.b = v + f * p->v_f + from * L;
        for (ptrdiff_t i = 0; i < rows; i++) {
            const ptrdiff_t begin = (k1 - k0) * i / rows, end = (k1 - k0) * (i + 1) / rows;
            tile.a = p->u + f * p->u_f + (at.group * p->cout + k0 + begin) * p->cin;
            tile.c = product + (f * (k1 - k0) + begin) * tiles * L + from * L;
            p->table->gemm_tile(&tile, (int)(end - begin), (int)(to - from));
        }
    }
}

/* Output channel k from product, in which it is number `row` of `rows`, to NCHW. */
static void FN(wino_finish)(const FN(winograd) * p, ptrdiff_t unit, ptrdiff_t k, ptrdiff_t row, ptrdiff_t rows,
                            const REAL *product, REAL *strip) {
    const FN(wino_place) at = FN(wino_unit)(p, unit);
    const ptrdiff_t L = p->table->lanes, m = p->m, tiles = at.rows * at.cols, cols = at.cols * m;
    const ptrdiff_t channel = at.group * p->cout + k;
    for (ptrdiff_t r = 0; r < at.rows; r++) {
        p->table->wino_output(strip, cols * L, product + (row * tiles + r * at.cols) * L, rows * tiles * L,
                              p->bias ? p->bias[channel] : 0, at.cols, (int)m);
        FN(unpack_rows)(p->table, &p->to, p->y, p->first + at.lane_group, channel, strip, cols, (at.row + r) * m, m,
                        at.col * m, cols);
    }
}

static void FN(wino_task)(const void *context, ptrdiff_t unit, int thread) {
    const FN(winograd) *p = context;
    REAL *v = p->scratch + thread * p->scratch_size, *product = v + p->v_size, *strip = product + p->product_size;
    for (ptrdiff_t c = 0; c < p->cin; c++) FN(wino_transform)(p, unit, c, v);
    for (ptrdiff_t k0 = 0; k0 < p->cout; k0 += p->kb) {
        const ptrdiff_t k1 = cnn_min(p->cout, k0 + p->kb);
        for (ptrdiff_t f = 0; f < FREQUENCIES; f++) FN(wino_multiply)(p, unit, f, k0, k1, v, product);
        for (ptrdiff_t k = k0; k < k1; k++) FN(wino_finish)(p, unit, k, k - k0, k1 - k0, product, strip);
    }
}

/* The same three steps with one unit shared out; v and product are the first thread's, strips everyone's own. */
static void FN(wino_shared_transform)(const void *context, ptrdiff_t c, int thread) {
    const FN(winograd) *p = context;
    (void)thread;
    FN(wino_transform)(p, p->unit, c, p->scratch);
}

static void FN(wino_shared_multiply)(const void *context, ptrdiff_t f, int thread) {
    const FN(winograd) *p = context;
    (void)thread;
    FN(wino_multiply)(p, p->unit, f, 0, p->cout, p->scratch, p->scratch + p->v_size);
}

static void FN(wino_shared_finish)(const void *context, ptrdiff_t k, int thread) {
    const FN(winograd) *p = context;
    REAL *product = p->scratch + p->v_size;
    FN(wino_finish)(p, p->unit, k, k, p->cout, product, product + p->product_size + thread * p->strip_size);
}

#define WINO_V_BYTES (384 << 10)       /* v and product of a unit: together a second-level cache */
#define WINO_PRODUCT_BYTES (256 << 10)
#define WINO_MIN_TILES 4               /* as many vectors as the product's register tile takes */

static cnn_status FN(winograd_run)(FN(winograd) * p) {
    const FN(cnn_table) *table = p->table;
    const ptrdiff_t L = table->lanes, size = (ptrdiff_t)sizeof(REAL);
    p->m = 7 - p->taps;
    FN(choose_grid)(L, p->to.images, p->to.h, p->to.w, p->m, p->m, &p->to);
    const ptrdiff_t lane_groups = cnn_ceil_div(FN(edge_items)(&p->to), L);
    p->tiles_h = cnn_ceil_div(p->to.step_h, p->m);
    p->tiles_w = cnn_ceil_div(p->to.step_w, p->m);
    p->height = p->tiles_h * p->m + p->taps - 1;
    p->width = p->tiles_w * p->m + p->taps - 1;
    p->from.grid_h = p->to.grid_h;
    p->from.grid_w = p->to.grid_w;
    p->from.step_h = p->to.step_h;
    p->from.step_w = p->to.step_w;
    p->from.rows = p->height;
    p->from.cols = p->width;
    p->staging_size = FN(edge_staging)(&p->from, L);
    const ptrdiff_t most = cnn_max(WINO_MIN_TILES, WINO_V_BYTES / (FREQUENCIES * p->cin * L * size));
    p->units_w = cnn_ceil_div(p->tiles_w, most);
    p->unit_w = cnn_ceil_div(p->tiles_w, p->units_w);
    p->unit_h = cnn_min(p->tiles_h, cnn_max(1, most / p->tiles_w));
    p->units_h = cnn_ceil_div(p->tiles_h, p->unit_h);
    const ptrdiff_t tiles = p->unit_h * p->unit_w;

    const double group_bytes = (double)(p->groups * p->cin) * (double)(p->height * p->width * L) * (double)size;
    const ptrdiff_t slab = cnn_min(lane_groups, cnn_max(1, (ptrdiff_t)(SLAB_BYTES / group_bytes)));
    const ptrdiff_t units = p->groups * p->units_h * p->units_w; /* of a lane group */
    const double work = (double)lane_groups * (double)(units * tiles * L * FREQUENCIES) * (double)(p->cin * p->cout);
    const int threads = cnn_threads_for(work / 4);
    const int shared = threads > 1 && slab * units < 2 * threads;
    p->kb = WINO_PRODUCT_BYTES / (FREQUENCIES * tiles * L * size) / table->gemm_mb * table->gemm_mb;
    p->kb = shared ? p->cout : cnn_min(p->cout, cnn_max(p->kb, table->gemm_mb));
    p->u_f = p->groups * p->cout * p->cin;
    p->v_f = (p->cin * tiles + 1 - p->cin * tiles % 2) * L; /* an odd number of vectors: spreads over the cache's sets */
    p->v_size = FREQUENCIES * p->v_f;
    p->product_size = FREQUENCIES * p->kb * tiles * L;
    p->strip_size = p->m * p->m * p->unit_w * L;
    p->scratch_size = p->v_size + p->product_size + p->strip_size;
    p->filters_size = p->taps * p->taps * L;

    cnn_carver carver = {0};
    for (int pass = 0; pass < 2; pass++) {
        if (pass && !(carver.base = carver.overflow ? NULL : cnn_workspace(carver.used))) return CNN_NO_MEMORY;
        carver.used = 0;
        p->u = cnn_carve(&carver, FREQUENCIES * p->u_f, sizeof(REAL));
        p->filters = cnn_carve(&carver, threads * p->filters_size, sizeof(REAL));
        p->staging = cnn_carve(&carver, threads * p->staging_size, sizeof(REAL));
        p->source = cnn_carve(&carver, slab * p->groups * p->cin * p->height * p->width * L, sizeof(REAL));
        p->scratch = cnn_carve(&carver, shared ? p->scratch_size + threads * p->strip_size : threads * p->scratch_size,
                               sizeof(REAL));
    }
    cnn_parallel_for(threads, p->groups * p->cout, FN(wino_pack_filters), p);
    for (p->first = 0; p->first < lane_groups; p->first += slab) {
        const ptrdiff_t here = cnn_min(slab, lane_groups - p->first);
        cnn_parallel_for(threads, here * p->groups * p->cin, FN(wino_pack_source), p);
        if (!shared) {
            cnn_parallel_for(threads, here * units, FN(wino_task), p);
            continue;
        }
        for (p->unit = 0; p->unit < here * units; p->unit++) {
            cnn_parallel_for(threads, p->cin, FN(wino_shared_transform), p);
            cnn_parallel_for(threads, FREQUENCIES, FN(wino_shared_multiply), p);
            cnn_parallel_for(threads, p->cout, FN(wino_shared_finish), p);
        }
    }
    return CNN_OK;
}

/* Whether tiles beat the direct sum, by multiply-adds (a vector load or store counted as one): a function of the sizes
 * alone, so that the same problem takes the same way everywhere. */
static int FN(winograd_pays)(const cnn_conv2d *p, ptrdiff_t cin, ptrdiff_t cout, ptrdiff_t out_h, ptrdiff_t out_w) {
    if (p->r != p->s || (p->r != 3 && p->r != 5) || p->stride_h != 1 || p->stride_w != 1 || p->dilation_h != 1 ||
        p->dilation_w != 1 || !strcmp(cnn_get_algorithm(), "direct"))
        return 0;
    const ptrdiff_t m = 7 - p->r;
    const double tiles = (double)cnn_ceil_div(out_h, m) * (double)cnn_ceil_div(out_w, m);
    const double in = (double)cin, out = (double)cout;
    const double by_tiles = tiles * FREQUENCIES * (in * out + 5 * in + 8 * out);
    return by_tiles < 0.9 * (double)(out_h * out_w) * (double)(p->r * p->s) * in * out;
}
