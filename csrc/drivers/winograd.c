/* Convolution of stride 1 by Winograd's tiles (kernels/winograd.c), n×n inputs each, forward and input gradient.
 *
 * The input gradient at stride 1 is a forward convolution of dy with the filters turned by 180 degrees, input and output
 * channels exchanged, and padding taps - 1 - pad.
 *
 * 1. filters -> u [n²][group][output channel][input channel], a frequency being one element of a tile
 * 2. per unit (conv group, T tiles, each of L images): v [n²][panel][input channel][NB][L], a panel being NB of the
 *    tiles; then for KB output channels at a time, product [n²][KB][T][L], one matrix product per frequency, and from
 *    there through the sink.
 *
 * A unit is tiles of one lane group, as many as leave its arrays in a second-level cache, but at least so many that each
 * filter, read from further away, is used often enough. Where there are fewer units than threads could use, the
 * channels of one unit, if possible of all lane groups together, are shared out instead. */

typedef struct {
    FN(conv) * conv;
    int taps, flip, n, frequencies, align;      /* a unit begins at a multiple of `align` tiles */
    ptrdiff_t m, tiles_h, tiles_w;              /* m×m outputs a tile; tiles of a plane */
    ptrdiff_t unit_g, unit_h, unit_w, units_h, units_w; /* lane groups and tiles of a unit, units of a plane */
    ptrdiff_t u_f, v_f, kb, groups, unit;       /* groups: lane groups at hand; unit: the one that is shared out */
    int shared, lone;                           /* units are shared out; there is just one */
    REAL *u, *filters, *scratch;
    ptrdiff_t filters_size, v_size, product_size, strip_size, scratch_size;
} FN(winograd);

/* The filters of an output channel, counted over all conv groups. */
static void FN(wino_filter)(const FN(winograd) * p, ptrdiff_t channel, REAL *u, ptrdiff_t u_f, int thread) {
    const FN(conv) *c = p->conv;
    const ptrdiff_t L = c->table->lanes, group = channel / c->cout, out = channel % c->cout, area = p->taps * p->taps;
    REAL *lanes = p->filters + thread * p->filters_size;
    for (ptrdiff_t i = 0; i < c->cin; i += L) {
        const int n = (int)cnn_min(L, c->cin - i);
        c->table->lanes_from_planes(lanes, c->w + group * c->w_group + out * c->w_out + i * c->w_in, c->w_in, n, area);
        c->table->wino_weights(u + i, u_f, lanes, p->flip, n, p->taps, p->n);
    }
}

static void FN(wino_pack)(const void *context, ptrdiff_t channel, int thread) {
    const FN(winograd) *p = context;
    FN(wino_filter)(p, channel, p->u + channel * p->conv->cin, p->u_f, thread);
}

/* Where a unit lies: its first lane group and how many, its conv group, its first tile, how many tiles it has each way. */
typedef struct {
    ptrdiff_t lane_group, lane_groups, group, row, col, rows, cols, tiles;
} FN(wino_place);

static FN(wino_place) FN(wino_unit)(const FN(winograd) * p, ptrdiff_t unit) {
    const ptrdiff_t col = unit % p->units_w, row = unit / p->units_w % p->units_h, rest = unit / (p->units_w * p->units_h);
    const ptrdiff_t conv_groups = p->conv->groups;
    FN(wino_place) place = {.lane_group = rest / conv_groups * p->unit_g, .group = rest % conv_groups,
                            .row = row * p->unit_h};
    place.lane_groups = cnn_min(p->unit_g, p->groups - place.lane_group);
    place.col = p->tiles_w * col / p->units_w / p->align * p->align;
    place.cols = (col + 1 < p->units_w ? p->tiles_w * (col + 1) / p->units_w / p->align * p->align : p->tiles_w) - place.col;
    place.rows = cnn_min(p->unit_h, p->tiles_h - place.row);
    place.tiles = place.lane_groups * place.rows * place.cols;
    return place;
}

/* Panel i of T tiles begins at tile T i / panels. */
static ptrdiff_t FN(wino_panels)(const FN(winograd) * p, ptrdiff_t tiles) {
    return cnn_ceil_div(tiles, p->conv->table->gemm_nb);
}

/* Channel i of the input into v. */
static void FN(wino_transform)(const FN(winograd) * p, ptrdiff_t unit, ptrdiff_t i, REAL *v) {
    const FN(wino_place) at = FN(wino_unit)(p, unit);
    const FN(conv) *c = p->conv;
    const ptrdiff_t L = c->table->lanes, width = c->from.edge.cols, panels = FN(wino_panels)(p, at.tiles);
    ptrdiff_t tile = 0, panel = 0, begin = 0, end = at.tiles / panels;
    for (ptrdiff_t g = 0; g < at.lane_groups; g++) {
        const REAL *x = FN(plane)(&c->from, c->from.first + at.lane_group + g, at.group * c->cin + i);
        for (ptrdiff_t r = 0; r < at.rows; r++)
            for (ptrdiff_t col = 0; col < at.cols;) {
                if (tile == end) {
                    begin = end;
                    end = at.tiles * (++panel + 1) / panels;
                }
                const ptrdiff_t n = cnn_min(end - tile, at.cols - col);
                const ptrdiff_t from = (c->top + (at.row + r) * p->m) * width + c->left + (at.col + col) * p->m;
                c->table->wino_input(v + (begin * c->cin + i * (end - begin) + tile - begin) * L, p->v_f, L, x + from * L,
                                     width * L, p->m * L, n, p->n);
                tile += n;
                col += n;
            }
    }
}

/* Rounding in long sums makes most of the tiles' error: so many input channels are added up at a time, or half of few, of
 * which a direct sum is very accurate. */
#define WINO_CHAIN 128
#define WINO_FEW 48

/* The products of frequency f for `outputs` output channels, whose filters u begins with; product holds
 * [n²][outputs][T][L]. */
static void FN(wino_multiply)(const FN(winograd) * p, ptrdiff_t unit, ptrdiff_t f, ptrdiff_t outputs, const REAL *u,
                              const REAL *v, REAL *product) {
    const FN(wino_place) at = FN(wino_unit)(p, unit);
    const FN(conv) *c = p->conv;
    const ptrdiff_t L = c->table->lanes, panels = FN(wino_panels)(p, at.tiles);
    const ptrdiff_t chains = c->cin > WINO_FEW ? cnn_ceil_div(c->cin, WINO_CHAIN) : c->cin > WINO_FEW / 3 ? 2 : 1;
    FN(cnn_gemm_tile) tile = {.c_i = at.tiles * L, .c_j = L, .a_i = c->cin, .a_p = 1, .b_j = L, .tail = (int)L, .apart = 1};
    for (ptrdiff_t j = 0; j < panels; j++) {
        const ptrdiff_t from = at.tiles * j / panels, to = at.tiles * (j + 1) / panels;
        tile.b_p = (to - from) * L;
        for (ptrdiff_t chain = 0; chain < chains; chain++) {
            const ptrdiff_t first = c->cin * chain / chains;
            tile.b = v + f * p->v_f + from * c->cin * L + first * tile.b_p;
            tile.depth = c->cin * (chain + 1) / chains - first;
            tile.accumulate = chain > 0;
            const ptrdiff_t rows = cnn_ceil_div(outputs, c->table->gemm_rows[to - from]);
            for (ptrdiff_t i = 0; i < rows; i++) {
                const ptrdiff_t begin = outputs * i / rows, end = outputs * (i + 1) / rows;
                tile.a = u + f * p->u_f + begin * c->cin + first;
                tile.c = product + (f * outputs + begin) * at.tiles * L + from * L;
                c->table->gemm_tile(&tile, (int)(end - begin), (int)(to - from));
            }
        }
    }
}

/* Output channel k from product, in which it is number `row` of `rows`, through the sink. */
static void FN(wino_finish)(const FN(winograd) * p, ptrdiff_t unit, ptrdiff_t k, ptrdiff_t row, ptrdiff_t rows,
                            const REAL *product, REAL *strip) {
    const FN(wino_place) at = FN(wino_unit)(p, unit);
    const FN(conv) *c = p->conv;
    const ptrdiff_t L = c->table->lanes, m = p->m, cols = at.cols * m, channel = at.group * c->cout + k;
    const REAL *from = product + row * at.tiles * L;
    for (ptrdiff_t g = 0; g < at.lane_groups; g++) {
        for (ptrdiff_t r = 0; r < at.rows; r++, from += at.cols * L)
            c->table->wino_output(strip + r * m * cols * L, cols * L, from, rows * at.tiles * L,
                                  c->bias ? c->bias[channel] : 0, at.cols, p->taps, p->n);
        FN(sink_rows)(c->table, &c->to, c->from.first + at.lane_group + g, channel, strip, cols, at.row * m, at.rows * m,
                      at.col * m, cols);
    }
}

static void FN(wino_task)(const void *context, ptrdiff_t unit, int thread) {
    const FN(winograd) *p = context;
    const FN(conv) *c = p->conv;
    REAL *v = p->scratch + thread * p->scratch_size, *product = v + p->v_size, *strip = product + p->product_size;
    const REAL *u = p->u + FN(wino_unit)(p, unit).group * c->cout * c->cin;
    for (ptrdiff_t i = 0; i < c->cin; i++) FN(wino_transform)(p, unit, i, v);
    for (ptrdiff_t k0 = 0; k0 < c->cout; k0 += p->kb) {
        const ptrdiff_t outputs = cnn_min(p->kb, c->cout - k0);
        for (ptrdiff_t f = 0; f < p->frequencies; f++) FN(wino_multiply)(p, unit, f, outputs, u + k0 * c->cin, v, product);
        for (ptrdiff_t k = 0; k < outputs; k++) FN(wino_finish)(p, unit, k0 + k, k, outputs, product, strip);
    }
}

/* One unit shared out: first the input channels, then the output channels, KB at a time. A lone unit's filters are
 * transformed just before they are used, and never stored. */
static void FN(wino_shared_inputs)(const void *context, ptrdiff_t i, int thread) {
    const FN(winograd) *p = context;
    (void)thread;
    FN(wino_transform)(p, p->unit, i, p->scratch);
}

static void FN(wino_shared_outputs)(const void *context, ptrdiff_t block, int thread) {
    const FN(winograd) *p = context;
    const FN(conv) *c = p->conv;
    const ptrdiff_t k0 = block * p->kb, outputs = cnn_min(p->kb, c->cout - k0);
    REAL *product = p->scratch + p->v_size + thread * (p->scratch_size - p->v_size), *strip = product + p->product_size;
    REAL *own = strip + p->strip_size;
    const REAL *u = p->lone ? own : p->u + (FN(wino_unit)(p, p->unit).group * c->cout + k0) * c->cin;
    for (ptrdiff_t k = 0; p->lone && k < outputs; k++) FN(wino_filter)(p, k0 + k, own + k * c->cin, p->u_f, thread);
    for (ptrdiff_t f = 0; f < p->frequencies; f++) FN(wino_multiply)(p, p->unit, f, outputs, u, p->scratch, product);
    for (ptrdiff_t k = 0; k < outputs; k++) FN(wino_finish)(p, p->unit, k0 + k, k, outputs, product, strip);
}

/* Decides where the source has to lie: rows and columns for whole tiles. A cropping convolution has `top` inside. */
static void FN(wino_halo)(FN(winograd) * p, FN(conv) * c) {
    FN(edge) *e = &c->from.edge;
    const ptrdiff_t pad_h = p->flip ? p->taps - 1 - c->row.pad : c->row.pad;
    const ptrdiff_t pad_w = p->flip ? p->taps - 1 - c->col.pad : c->col.pad;
    const int cut = c->grid.grid_h * c->grid.grid_w > 1;
    p->conv = c;
    p->tiles_h = cnn_ceil_div(c->grid.step_h, p->m);
    p->tiles_w = cnn_ceil_div(c->grid.step_w, p->m);
    e->step_h = c->grid.step_h;
    e->step_w = c->grid.step_w;
    e->top = cut ? pad_h : cnn_max(0, pad_h);
    e->left = cut ? pad_w : cnn_max(0, pad_w);
    c->top = e->top - pad_h;
    c->left = e->left - pad_w;
    e->rows = c->top + p->tiles_h * p->m + p->taps - 1;
    e->cols = c->left + p->tiles_w * p->m + p->taps - 1;
    if (!cut) {
        e->rows = cnn_max(e->rows, e->top + e->h);
        e->cols = cnn_max(e->cols, e->left + e->w);
    }
}

#define WINO_BYTES (512 << 10) /* v and a product of a unit: about a second-level cache */
#define WINO_MIN_TILES 2       /* panels that a unit has at least, where the filters do not fit the cache with it */

/* Decides how the work is cut, after wino_halo; returns the threads to use. */
static int FN(wino_size)(FN(winograd) * p, FN(conv) * c) {
    const FN(cnn_table) *table = c->table;
    const ptrdiff_t L = table->lanes, nb = table->gemm_nb, mb = table->gemm_mb, size = (ptrdiff_t)sizeof(REAL);
    const ptrdiff_t lane_groups = cnn_ceil_div(FN(edge_items)(&c->grid), L), kb = cnn_min(c->cout, 4 * mb);
    const ptrdiff_t most = cnn_max(WINO_MIN_TILES * nb, WINO_BYTES / (p->frequencies * (c->cin + kb) * L * size) / nb * nb);
    p->unit_g = 1;
    p->align = c->to.pool && p->m % 2 ? 2 : 1; /* pooling takes two rows and columns at a time */
    p->units_w = cnn_ceil_div(p->tiles_w, most);
    p->unit_w = cnn_min(p->tiles_w, cnn_ceil_div(p->tiles_w, p->units_w) + p->align - 1);
    p->unit_h = cnn_min(p->tiles_h, cnn_max(1, most / p->tiles_w / p->align) * p->align);
    p->units_h = cnn_ceil_div(p->tiles_h, p->unit_h);
    const double work = (double)lane_groups * (double)(p->tiles_h * p->tiles_w * L * p->frequencies) *
                        (double)(c->groups * c->cin * c->cout);
    const int threads = cnn_threads_for(work / 4);
    const ptrdiff_t units = c->groups * p->units_h * p->units_w; /* of a lane group */
    p->shared = lane_groups * units < 2 * threads;
    /* Small images in few lane groups, or to be shared out: all of them are one unit, so that filters are read once. */
    if (p->unit_h == p->tiles_h && p->units_w == 1)
        p->unit_g = p->shared ? lane_groups : cnn_max(1, cnn_min(lane_groups, most / (p->unit_h * p->unit_w)));
    const ptrdiff_t tiles = p->unit_g * p->unit_h * p->unit_w;
    p->lone = p->shared && p->unit_g * units == lane_groups;
    /* Output channels at a time: a lone unit's filters stay in the cache, and all threads get some. */
    const ptrdiff_t cached = p->lone ? cnn_max(1, WINO_BYTES / (p->frequencies * c->cin * size) / mb) * mb : kb;
    const ptrdiff_t tasks = p->shared && threads > 1 ? 2 * TASKS_PER_THREAD * threads : 1;
    p->kb = cnn_min(cnn_min(kb, cached), cnn_ceil_div(c->cout, tasks * mb) * mb);
    const ptrdiff_t filters = p->lone ? p->kb * c->cin : c->groups * c->cout * c->cin;
    /* An odd number of vectors from frequency to frequency: spreads over the cache's sets. */
    p->u_f = (cnn_ceil_div(filters, L) / 2 * 2 + 1) * L;
    p->v_f = (c->cin * tiles / 2 * 2 + 1) * L;
    p->v_size = p->frequencies * p->v_f;
    p->product_size = p->frequencies * p->kb * tiles * L;
    p->strip_size = p->m * p->m * p->unit_h * p->unit_w * L;
    p->scratch_size = p->v_size + p->product_size + p->strip_size + (p->lone ? p->frequencies * p->u_f : 0);
    p->filters_size = p->taps * p->taps * L;
    return threads;
}

static void FN(wino_carve)(FN(winograd) * p, cnn_carver *carver, int threads) {
    const ptrdiff_t shared = p->shared ? p->v_size : 0;
    p->u = cnn_carve(carver, p->lone ? 0 : p->frequencies * p->u_f, sizeof(REAL));
    p->filters = cnn_carve(carver, threads * p->filters_size, sizeof(REAL));
    p->scratch = cnn_carve(carver, shared + threads * (p->scratch_size - shared), sizeof(REAL));
}

static void FN(wino_weights_run)(FN(winograd) * p, int threads) {
    if (!p->lone) cnn_parallel_for(threads, p->conv->groups * p->conv->cout, FN(wino_pack), p);
}

/* The outputs of `count` lane groups, whose sources are packed. */
static void FN(wino_run)(FN(winograd) * p, ptrdiff_t count, int threads) {
    const ptrdiff_t units = cnn_ceil_div(count, p->unit_g) * p->conv->groups * p->units_h * p->units_w;
    p->groups = count;
    if (!p->shared) {
        cnn_parallel_for(threads, units, FN(wino_task), p);
        return;
    }
    for (p->unit = 0; p->unit < units; p->unit++) {
        cnn_parallel_for(threads, p->conv->cin, FN(wino_shared_inputs), p);
        cnn_parallel_for(threads, cnn_ceil_div(p->conv->cout, p->kb), FN(wino_shared_outputs), p);
    }
}
