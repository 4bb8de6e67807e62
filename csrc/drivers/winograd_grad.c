/* The weight gradient of a convolution of stride 1 by Winograd's tiles (kernels/winograd.c): the same n×n tiles of x as in
 * the forward pass, with m×m tiles of dy in place of filters, added up over all tiles of all images; at the end each
 * sum of n² frequencies becomes taps×taps gradients.
 *
 * Sums run over images, so lanes are channels here. Per unit, P tiles of a few images: v [n²][P][channels] of x and of dy, then for each frequency sums [rows][columns] += v' v, a matrix product. Its columns, in vectors, are input or
 * output channels, whichever fill vectors better, its rows the others.
 *
 * Units are dealt to `parts` sums in order; tasks are (part, conv group, block of rows). How many there are follows from
 * the sizes alone, so the sums never depend on the number of threads. */

/* One of the two factors: x or dy, and how much of it a tile sees. */
typedef struct {
    const FN(source) * planes; /* its lane planes, with images in lanes, or NULL: it is */
    const REAL *x;             /* images × all × h × w */
    ptrdiff_t all, channels, padded; /* channels altogether, of a conv group, and up to whole vectors */
    ptrdiff_t h, w, pad_h, pad_w, size; /* size×size pixels a tile */
} FN(wino_factor);

typedef struct {
    const FN(cnn_table) * table;
    const cnn_conv2d *p;
    REAL *dw;
    FN(wino_factor) factor[2];                          /* rows, columns */
    int rows_are_outputs, n, frequencies;
    ptrdiff_t m, tiles_h, tiles_w;                      /* tiles of a plane */
    int at_once;                                        /* a task's sums are complete, and its own */
    ptrdiff_t unit_n, unit_h, unit_w, units_h, units_w, units; /* images and tiles of a unit, units of a plane and of all */
    ptrdiff_t frequency, block, blocks, parts, first, end; /* elements of a frequency's sums, rows of a task; lane groups at hand */
    ptrdiff_t v_size[2], strip_size, scratch_size;
    REAL *sums, *scratch;
} FN(wino_grad);

/* Elements of one frequency of v: an odd number of vectors, which spreads frequencies over the cache's sets. */
static ptrdiff_t FN(wino_v_f)(const FN(wino_grad) * g, ptrdiff_t positions, ptrdiff_t channels) {
    const ptrdiff_t L = g->table->lanes;
    return (positions * cnn_ceil_div(channels, L) | 1) * L;
}

/* Rows [row, row + rows), columns [col, col + cols) of `count` channels of `images` images, with channels in lanes:
 * [image][row][col][L]; 0 outside of an image. Lane planes give the images of one lane group. */
static void FN(channels_to_lanes)(const FN(cnn_table) * t, const FN(wino_factor) * f, REAL *dst, ptrdiff_t image,
                                  ptrdiff_t images, ptrdiff_t channel, int count, ptrdiff_t row, ptrdiff_t rows,
                                  ptrdiff_t col, ptrdiff_t cols) {
    const ptrdiff_t L = t->lanes, left = cnn_min(cols, cnn_max(0, -col)), size = rows * cols * L;
    const ptrdiff_t n = cnn_max(0, cnn_min(cols, f->w - col) - left);
    for (ptrdiff_t r = 0; r < rows; r++, dst += cols * L) {
        const ptrdiff_t y = row + r, inside = y >= 0 && y < f->h ? n : 0, at = inside ? left : 0;
        for (ptrdiff_t i = 0; i < images; i++) {
            REAL *to = dst + i * size;
            memset(to, 0, (size_t)(at * L) * sizeof(REAL));
            memset(to + (at + inside) * L, 0, (size_t)((cols - at - inside) * L) * sizeof(REAL));
            if (inside && !f->planes)
                t->lanes_from_planes(to + at * L, f->x + (((image + i) * f->all + channel) * f->h + y) * f->w + col + at,
                                     f->h * f->w, count, inside);
        }
        if (!inside || !f->planes) continue;
        const FN(edge) *e = &f->planes->edge;
        t->swap_lanes(dst + at * L, size, (int)images,
                      FN(plane)(f->planes, image / L, channel) + ((e->top + y) * e->cols + e->left + col + at) * L,
                      FN(plane_size)(f->planes), count, inside);
    }
}

/* Where a unit lies: its first image, tile row and tile column, and how many it has of them. */
typedef struct {
    ptrdiff_t image, images, row, rows, col, cols;
} FN(wino_grad_unit);

static FN(wino_grad_unit) FN(wino_grad_at)(const FN(wino_grad) * g, ptrdiff_t unit) {
    const ptrdiff_t i = unit / g->units_w % g->units_h, j = unit % g->units_w;
    FN(wino_grad_unit) u = {.image = unit / (g->units_h * g->units_w) * g->unit_n, .row = g->tiles_h * i / g->units_h,
                            .col = g->tiles_w * j / g->units_w};
    u.images = cnn_min(g->unit_n, g->p->n - u.image);
    u.rows = g->tiles_h * (i + 1) / g->units_h - u.row;
    u.cols = g->tiles_w * (j + 1) / g->units_w - u.col;
    return u;
}

/* `count` channels of a factor, from `channel` on, into v. */
static void FN(wino_grad_transform)(const FN(wino_grad) * g, const FN(wino_factor) * f, const FN(wino_grad_unit) * u,
                                    REAL *v, REAL *strip, ptrdiff_t channel, ptrdiff_t count) {
    const FN(cnn_table) *t = g->table;
    const ptrdiff_t L = t->lanes, v_t = cnn_ceil_div(count, L) * L, together = f->planes ? u->images : 1;
    const ptrdiff_t v_f = FN(wino_v_f)(g, u->images * u->rows * u->cols, count);
    const ptrdiff_t high = (u->rows - 1) * g->m + f->size, wide = (u->cols - 1) * g->m + f->size;
    for (ptrdiff_t c = 0; c < count; c += L)
        for (ptrdiff_t i = 0; i < u->images; i++) {
            const REAL *from = strip + i % together * high * wide * L;
            if (i % together == 0)
                FN(channels_to_lanes)(t, f, strip, u->image + i, together, channel + c, (int)cnn_min(L, count - c),
                                      u->row * g->m - f->pad_h, high, u->col * g->m - f->pad_w, wide);
            for (ptrdiff_t r = 0; r < u->rows; r++, from += g->m * wide * L) {
                REAL *to = v + (i * u->rows + r) * u->cols * v_t + c;
                if (f->size == g->n) t->wino_input(to, v_f, v_t, from, wide * L, g->m * L, u->cols, g->n);
                else t->wino_factor(to, v_f, v_t, from, wide * L, g->m * L, u->cols, (int)g->p->r, g->n);
            }
        }
}

#define WINO_GRAD_CHAIN 64 /* tiles that are added up at a time: long sums round more */

/* One row of channels: the parts' sums, from frequencies to taps, to their places in dw. */
static void FN(wino_grad_row)(const FN(wino_grad) * g, ptrdiff_t group, ptrdiff_t row, const REAL *sums, REAL *taps) {
    const FN(wino_factor) *columns = &g->factor[1];
    const ptrdiff_t L = g->table->lanes, area = g->p->r * g->p->s, parts_stride = g->p->groups * g->frequencies * g->frequency;
    const ptrdiff_t cin = g->p->c / g->p->groups, cout = g->p->k / g->p->groups;
    const ptrdiff_t row_size = g->rows_are_outputs ? cin * area : area, column_size = g->rows_are_outputs ? area : cin * area;
    REAL *dw = g->dw + group * cout * cin * area + row * row_size;
    for (ptrdiff_t c = 0; c < columns->channels; c += L) {
        g->table->wino_taps(taps, sums + c, g->frequency, g->parts, parts_stride, (int)g->p->r, g->n);
        g->table->planes_from_lanes(dw + c * column_size, column_size, (int)cnn_min(L, columns->channels - c), taps, area);
    }
}

static void FN(wino_grad_task)(const void *context, ptrdiff_t task, int thread) {
    const FN(wino_grad) *g = context;
    const ptrdiff_t L = g->table->lanes, block = task % g->blocks, group = task / g->blocks % g->p->groups;
    const ptrdiff_t part = task / (g->blocks * g->p->groups);
    const FN(wino_factor) *rows = &g->factor[0], *columns = &g->factor[1];
    const ptrdiff_t row = block * g->block, count = cnn_min(g->block, rows->channels - row);
    REAL *strip = g->scratch + thread * g->scratch_size, *v_rows = strip + g->strip_size, *v_columns = v_rows + g->v_size[0];
    REAL *sums = g->at_once ? v_columns + g->v_size[1]
                            : g->sums + (part * g->p->groups + group) * g->frequencies * g->frequency + row * columns->padded;
    const ptrdiff_t begin = g->units * part / g->parts;
    for (ptrdiff_t unit = begin; unit < g->units * (part + 1) / g->parts; unit++) {
        const FN(wino_grad_unit) u = FN(wino_grad_at)(g, unit);
        const ptrdiff_t lane_group = u.image / L, positions = u.images * u.rows * u.cols;
        if (lane_group < g->first || lane_group >= g->end) continue;
        FN(wino_grad_transform)(g, rows, &u, v_rows, strip, group * rows->channels + row, count);
        FN(wino_grad_transform)(g, columns, &u, v_columns, strip, group * columns->channels, columns->channels);
        const ptrdiff_t chains = cnn_ceil_div(positions, WINO_GRAD_CHAIN), a_p = cnn_ceil_div(count, L) * L;
        for (ptrdiff_t i = 0; i < g->frequencies * chains; i++) {
            const ptrdiff_t f = i / chains, from = positions * (i % chains) / chains;
            const FN(cnn_gemm_tile) tile = {
                .c = sums + f * g->frequency, .c_i = columns->padded, .c_j = L,
                .a = v_rows + f * FN(wino_v_f)(g, positions, count) + from * a_p, .a_i = 1, .a_p = a_p,
                .b = v_columns + f * FN(wino_v_f)(g, positions, columns->channels) + from * columns->padded,
                .b_p = columns->padded, .b_j = L, .depth = positions * (i % chains + 1) / chains - from,
                .accumulate = unit > begin || from > 0, .apart = 1};
            FN(multiply)(g->table, tile, count, columns->padded, NULL);
        }
    }
    for (ptrdiff_t i = 0; g->at_once && i < count; i++)
        FN(wino_grad_row)(g, group, row + i, sums + i * columns->padded, strip);
}

static void FN(wino_grad_output)(const void *context, ptrdiff_t task, int thread) {
    const FN(wino_grad) *g = context;
    const ptrdiff_t group = task / g->factor[0].channels, row = task % g->factor[0].channels;
    const REAL *sums = g->sums + group * g->frequencies * g->frequency + row * g->factor[1].padded;
    FN(wino_grad_row)(g, group, row, sums, g->scratch + thread * g->scratch_size);
}

#define WINO_GRAD_BYTES (1 << 20)       /* both factors of a unit: about a second-level cache */
#define WINO_GRAD_POSITIONS 128         /* least tiles of a unit: of two of them, many pixels are the same */
#define WINO_GRAD_SUMS (4800 << 10)     /* sums of a task */
#define WINO_GRAD_ALL_SUMS (16 << 20)   /* of all parts */
#define WINO_GRAD_TASKS 16

/* Decides how the work is cut. x and dy: lane planes, or where those are NULL the arrays. */
ONCE static void FN(wino_grad_size)(FN(wino_grad) * g, const cnn_conv2d *p, int n, const FN(source) * x_planes,
                                    const REAL *x, const FN(source) * dy_planes, const REAL *dy) {
    const ptrdiff_t L = g->table->lanes, cin = p->c / p->groups, cout = p->k / p->groups;
    const ptrdiff_t x_padded = cnn_ceil_div(cin, L) * L, dy_padded = cnn_ceil_div(cout, L) * L;
    g->p = p;
    g->n = n;
    g->frequencies = n * n;
    g->m = n + 1 - p->r;
    const FN(wino_factor) of_x = {x_planes, x, p->c, cin, x_padded, p->h, p->w, p->pad_h, p->pad_w, n};
    const FN(wino_factor) of_dy = {dy_planes, dy, p->k, cout, dy_padded, p->oh, p->ow, 0, 0, g->m};
    g->rows_are_outputs = cin * dy_padded >= cout * x_padded;
    g->factor[0] = g->rows_are_outputs ? of_dy : of_x;
    g->factor[1] = g->rows_are_outputs ? of_x : of_dy;
    const ptrdiff_t rows = g->factor[0].channels, columns = g->factor[1].padded, size = (ptrdiff_t)sizeof(REAL);
    g->tiles_h = cnn_ceil_div(p->oh, g->m);
    g->tiles_w = cnn_ceil_div(p->ow, g->m);
    const ptrdiff_t most_rows = cnn_max(2 * L, WINO_GRAD_SUMS / (g->frequencies * columns * size) / L * L);
    g->block = cnn_ceil_div(cnn_ceil_div(rows, cnn_ceil_div(rows, most_rows)), L) * L;
    g->blocks = cnn_ceil_div(rows, g->block);
    const int planes = x_planes || dy_planes;
    const ptrdiff_t fit = WINO_GRAD_BYTES / (g->frequencies * (g->block + columns) * size);
    const ptrdiff_t most = cnn_max(fit, WINO_GRAD_POSITIONS), tiles = g->tiles_h * g->tiles_w;
    for (g->unit_n = planes ? L : 1; 2 * g->unit_n <= L && 2 * g->unit_n * tiles <= most;) g->unit_n *= 2;
    const ptrdiff_t most_tiles = cnn_max(1, most / cnn_min(g->unit_n, p->n));
    g->units_w = cnn_ceil_div(g->tiles_w, most_tiles);
    g->unit_w = cnn_ceil_div(g->tiles_w, g->units_w);
    g->units_h = cnn_ceil_div(g->tiles_h, cnn_max(1, most_tiles / g->tiles_w));
    g->unit_h = cnn_ceil_div(g->tiles_h, g->units_h);
    g->units = cnn_ceil_div(p->n, g->unit_n) * g->units_h * g->units_w;
    const ptrdiff_t room = WINO_GRAD_ALL_SUMS / (p->groups * g->frequencies * rows * columns * size);
    g->parts = cnn_max(1, cnn_min(cnn_min(room, g->units), cnn_ceil_div(WINO_GRAD_TASKS, g->blocks * p->groups)));
    g->at_once = g->parts == 1 && !planes;
    g->frequency = FN(wino_v_f)(g, g->at_once ? g->block : rows, columns);
    const ptrdiff_t positions = g->unit_n * g->unit_h * g->unit_w;
    const ptrdiff_t strip = ((g->unit_h - 1) * g->m + n) * ((g->unit_w - 1) * g->m + n) * L;
    g->v_size[0] = g->frequencies * FN(wino_v_f)(g, positions, g->block);
    g->v_size[1] = g->frequencies * FN(wino_v_f)(g, positions, columns);
    g->strip_size = planes ? g->unit_n * strip : strip;
    g->scratch_size = g->strip_size + g->v_size[0] + g->v_size[1] + (g->at_once ? g->frequencies * g->frequency : 0);
}

static void FN(wino_grad_carve)(FN(wino_grad) * g, cnn_carver *carver, int threads) {
    const ptrdiff_t sums = g->at_once ? 0 : g->parts * g->p->groups * g->frequencies * g->frequency;
    g->sums = cnn_carve(carver, sums, sizeof(REAL));
    g->scratch = cnn_carve(carver, threads * g->scratch_size, sizeof(REAL));
}

/* Adds what lane groups [first, end) give, whose planes are packed. From arrays all come at once. */
static void FN(wino_grad_run)(FN(wino_grad) * g, ptrdiff_t first, ptrdiff_t end, int threads) {
    const int planes = g->factor[0].planes || g->factor[1].planes;
    if (!planes && first) return;
    g->first = first;
    g->end = planes ? end : cnn_ceil_div(g->p->n, g->table->lanes);
    cnn_parallel_for(threads, g->parts * g->p->groups * g->blocks, FN(wino_grad_task), g);
}

static void FN(wino_grad_finish)(FN(wino_grad) * g, int threads) {
    if (!g->at_once) cnn_parallel_for(threads, g->p->groups * g->factor[0].channels, FN(wino_grad_output), g);
}

/* The tile size, or 0; products count vectors as full. */
static int FN(wino_grad_tile)(const FN(cnn_table) * t, const cnn_conv2d *p) {
    const ptrdiff_t L = t->lanes, cin = p->c / p->groups, cout = p->k / p->groups;
    const double in = (double)(cnn_ceil_div(cin, L) * L), out = (double)(cnn_ceil_div(cout, L) * L);
    const FN(edge) dy = {.images = p->n, .h = p->oh, .w = p->ow};
    return FN(tile_size)(p, &dy, 1, 1, (double)(cin * cout), cnn_min((double)cin * out, (double)cout * in), 10 * (in + out));
}
