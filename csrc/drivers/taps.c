/* Direct convolution, forward and input gradient: one driver, because both are sums over taps.
 *
 * An output row reads, for each tap row, one source row; an output pixel, for each tap column, one source column.
 * Forward, output o reads source o*stride + t*dilation - pad. For the gradient the source is dy, and o reads
 * (o + pad - t*dilation)/stride where that division is exact: the outputs fall into `stride` phases, each with its own
 * taps and each a convolution of stride 1. Rows outside the source are left out; columns outside are zeros in a halo
 * of the packed planes.
 *
 * 1. weights  -> [group][block of KB outputs][input channel][r][s][KB]
 * 2. source   -> lane planes [group of L images][channel][h][left + w + right][L], one slab of images at a time; of few
 *               images, patches are cut to fill the lanes (lanes.h)
 * 3. per task (L images, conv group, strip of rows, range of output blocks): register tiles into a strip of lane
 *    planes in cache, then from there to NCHW. */

typedef struct {
    ptrdiff_t out, in, taps, stride, pad, dilation;
    int gradient;
} FN(axis);

/* The outputs of one phase: o = first + step*j, j < count, read source index start(t) + advance*j. */
typedef struct {
    ptrdiff_t first, step, count, advance;
} FN(phase);

static ptrdiff_t FN(phases)(const FN(axis) * a) { return a->gradient ? cnn_min(a->stride, a->out) : 1; }

static FN(phase) FN(phase_of)(const FN(axis) * a, ptrdiff_t i) {
    if (!a->gradient) return (FN(phase)){0, 1, a->out, a->stride};
    return (FN(phase)){i, a->stride, (a->out - 1 - i) / a->stride + 1, 1};
}

/* Source index that output o reads through tap t; 0 if it reads none. */
static int FN(source)(const FN(axis) * a, ptrdiff_t o, ptrdiff_t t, ptrdiff_t *at) {
    const ptrdiff_t v = o + a->pad - t * a->dilation;
    *at = a->gradient ? v / a->stride : o * a->stride + t * a->dilation - a->pad;
    return !a->gradient || v % a->stride == 0;
}

/* Zeros needed before and after the source so that no tap of any output leaves it. */
static void FN(halo)(const FN(axis) * a, ptrdiff_t *before, ptrdiff_t *after) {
    const ptrdiff_t reach = (a->taps - 1) * a->dilation;
    const ptrdiff_t least = a->gradient ? (a->pad - reach) / a->stride : -a->pad;
    const ptrdiff_t most = a->gradient ? (a->out - 1 + a->pad) / a->stride : (a->out - 1) * a->stride + reach - a->pad;
    *before = cnn_max(0, -least);
    *after = cnn_max(0, most - (a->in - 1));
}

typedef struct {
    const FN(cnn_table) * table;
    ptrdiff_t groups, cin, cout; /* channels per conv group, in the direction of this pass */
    FN(axis) row, col;           /* of an image; once the grid is chosen, of a patch */
    FN(edge) from, to;           /* how x and y lie in lanes; their images, channels, h and w are given */
    ptrdiff_t w_out, w_in, w_group; /* strides of the weight for an output channel, an input channel, a group */
    REAL *y;
    const REAL *x, *w, *bias;
    /* derived */
    ptrdiff_t left, width, blocks, strip, strips, chunk, chunks, slab, first; /* first: lane group of the slab */
    REAL *packed, *source, *scratch;
    FN(cnn_tap) * taps;
    ptrdiff_t *tap_counts;
    REAL *staging;
    ptrdiff_t scratch_size, taps_size, counts_size, staging_size; /* per thread */
} FN(tap_conv);

static void FN(pack_weights)(const void *context, ptrdiff_t task, int thread) {
    const FN(tap_conv) *v = context;
    const ptrdiff_t kb = v->table->conv_kb, taps = v->row.taps * v->col.taps;
    const ptrdiff_t group = task / v->blocks, k0 = task % v->blocks * kb, used = cnn_min(kb, v->cout - k0);
    const REAL *w = v->w + group * v->w_group + k0 * v->w_out;
    REAL *to = v->packed + task * v->cin * taps * kb;
    (void)thread;
    for (ptrdiff_t c = 0; c < v->cin; c++)
        for (ptrdiff_t t = 0; t < taps; t++)
            for (ptrdiff_t k = 0; k < kb; k++) *to++ = k < used ? w[k * v->w_out + c * v->w_in + t] : 0;
}

static void FN(pack_source)(const void *context, ptrdiff_t task, int thread) {
    const FN(tap_conv) *v = context;
    const ptrdiff_t channels = v->groups * v->cin;
    FN(pack_plane)(v->table, &v->from, v->source + task * v->row.in * v->width * v->table->lanes, v->x,
                   v->first + task / channels, task % channels, v->staging + thread * v->staging_size);
}

/* The taps of every (row of the strip, phase), one list after the other; their lengths in counts. */
static void FN(list_taps)(const FN(tap_conv) * v, ptrdiff_t row0, ptrdiff_t rows, FN(cnn_tap) * list, ptrdiff_t *counts) {
    const ptrdiff_t L = v->table->lanes, phases = FN(phases)(&v->col);
    for (ptrdiff_t o = row0; o < row0 + rows; o++)
        for (ptrdiff_t i = 0; i < phases; i++) {
            const FN(phase) phase = FN(phase_of)(&v->col, i);
            const FN(cnn_tap) *start = list;
            ptrdiff_t from_row, from_col;
            for (ptrdiff_t r = 0; r < v->row.taps; r++) {
                if (!FN(source)(&v->row, o, r, &from_row) || from_row < 0 || from_row >= v->row.in) continue;
                for (ptrdiff_t s = 0; s < v->col.taps; s++)
                    if (FN(source)(&v->col, phase.first, s, &from_col))
                        *list++ = (FN(cnn_tap)){(from_row * v->width + v->left + from_col) * L,
                                                (r * v->col.taps + s) * v->table->conv_kb};
            }
            *counts++ = list - start;
        }
}

static void FN(tap_conv_task)(const void *context, ptrdiff_t task, int thread) {
    const FN(tap_conv) *v = context;
    const FN(cnn_table) *table = v->table;
    const ptrdiff_t L = table->lanes, kb = table->conv_kb, pb = table->conv_pb, width = v->col.out;
    const ptrdiff_t chunk = task % v->chunks, strip = task / v->chunks % v->strips;
    const ptrdiff_t group = task / (v->chunks * v->strips) % v->groups;
    const ptrdiff_t lane_group = task / (v->chunks * v->strips * v->groups);
    const ptrdiff_t row0 = strip * v->strip, rows = cnn_min(v->strip, v->row.out - row0);
    const ptrdiff_t phases = FN(phases)(&v->col), area = v->row.taps * v->col.taps;
    REAL *scratch = v->scratch + thread * v->scratch_size;
    FN(cnn_tap) *taps = v->taps + thread * v->taps_size;
    ptrdiff_t *counts = v->tap_counts + thread * v->counts_size;
    FN(list_taps)(v, row0, rows, taps, counts);

    FN(cnn_conv_tile) tile = {.y_k = rows * width * L, .x_c = v->row.in * v->width * L, .w_c = area * kb,
                              .channels = v->cin};
    const REAL *source = v->source + (lane_group * v->groups + group) * v->cin * tile.x_c;
    const ptrdiff_t last = cnn_min(v->blocks, (chunk + 1) * v->chunk);
    for (ptrdiff_t block = chunk * v->chunk; block < last; block++) {
        const ptrdiff_t k0 = block * kb, k = group * v->cout + k0;
        const int used = (int)cnn_min(kb, v->cout - k0);
        const FN(cnn_tap) *list = taps;
        tile.w = v->packed + (group * v->blocks + block) * v->cin * area * kb;
        tile.bias = v->bias ? v->bias + k : NULL;
        for (ptrdiff_t at = 0; at < rows * phases; at++) {
            const FN(phase) phase = FN(phase_of)(&v->col, at % phases);
            const ptrdiff_t tiles = cnn_ceil_div(phase.count, pb);
            tile.tap = list;
            tile.taps = counts[at];
            list += counts[at];
            tile.x_p = phase.advance * L;
            tile.y_p = phase.step * L;
            for (ptrdiff_t i = 0; i < tiles; i++) {
                const ptrdiff_t from = phase.count * i / tiles, to = phase.count * (i + 1) / tiles;
                tile.x = source + from * tile.x_p;
                tile.y = scratch + (at / phases * width + phase.first) * L + from * tile.y_p;
                table->conv_tile(&tile, used, (int)(to - from));
            }
        }
        for (int i = 0; i < used; i++)
            FN(unpack_rows)(table, &v->to, v->y, v->first + lane_group, k + i, scratch + i * tile.y_k, width, row0, rows,
                            0, width);
    }
}

/* Cuts the images into patches where there are too few to fill the lanes; the axes are those of a patch then. */
static void FN(tap_conv_cut)(FN(tap_conv) * v) {
    FN(edge) *from = &v->from, *to = &v->to;
    FN(axis) *axes[] = {&v->row, &v->col};
    ptrdiff_t *steps[] = {&from->step_h, &from->step_w}, *begins[] = {&from->top, &from->left};
    const ptrdiff_t outs[] = {to->step_h, to->step_w};
    for (int i = 0; i < 2; i++) {
        FN(axis) *a = axes[i];
        const ptrdiff_t reach = (a->taps - 1) * a->dilation;
        a->out = outs[i];
        if (a->gradient) { /* dy pixels before the patch's first: room for them, and the padding to find them */
            const ptrdiff_t before = cnn_max(0, (reach - a->pad) / a->stride);
            *steps[i] = a->out / a->stride;
            *begins[i] = before;
            a->in = before + (a->out - 1 + a->pad) / a->stride + 1;
            a->pad += before * a->stride;
        } else {
            *steps[i] = a->out * a->stride;
            *begins[i] = a->pad;
            a->in = (a->out - 1) * a->stride + reach + 1;
            a->pad = 0;
        }
    }
    from->grid_h = to->grid_h;
    from->grid_w = to->grid_w;
}

#define SOURCE_BYTES (384 << 10) /* source rows of a strip, read again for every block of outputs: second-level cache */
#define STRIP_BYTES (32 << 10)  /* lane strip of one block of outputs: half a first-level cache or so */

static cnn_status FN(tap_conv_run)(FN(tap_conv) * v) {
    const FN(cnn_table) *table = v->table;
    const ptrdiff_t L = table->lanes, kb = table->conv_kb, area = v->row.taps * v->col.taps;
    const int gradient = v->row.gradient;
    FN(choose_grid)(L, v->to.images, v->row.out, v->col.out, gradient ? v->row.stride : 1, gradient ? v->col.stride : 1,
                    &v->to);
    const int cut = v->to.grid_h * v->to.grid_w > 1;
    v->from.grid_h = v->from.grid_w = 1;
    if (cut) FN(tap_conv_cut)(v);
    const ptrdiff_t items = FN(edge_items)(&v->to), lane_groups = cnn_ceil_div(items, L);
    const double work = (double)items * (double)v->groups * (double)v->cout * (double)v->cin * (double)area *
                        (double)cnn_min(v->row.out * v->col.out, v->row.in * v->col.in);
    const int threads = cnn_threads_for(work / 4);
    ptrdiff_t right;
    FN(halo)(&v->col, &v->left, &right);
    v->width = v->left + v->col.in + right;
    if (!cut) v->from.left = v->left;
    v->from.rows = v->row.in;
    v->from.cols = v->width;
    v->blocks = cnn_ceil_div(v->cout, kb);
    const ptrdiff_t row_bytes = kb * v->col.out * L * (ptrdiff_t)sizeof(REAL);
    const ptrdiff_t source_bytes = v->cin * v->width * L * (ptrdiff_t)sizeof(REAL);
    const ptrdiff_t source_rows = cnn_max(1, SOURCE_BYTES / source_bytes * v->row.out / v->row.in);
    v->strip = cnn_min(v->row.out, cnn_max(1, cnn_min(source_rows, STRIP_BYTES / row_bytes)));
    v->strips = cnn_ceil_div(v->row.out, v->strip);
    const double group_bytes = (double)(v->groups * v->cin) * (double)(v->row.in * v->width * L) * sizeof(REAL);
    v->slab = cnn_min(lane_groups, cnn_max(1, (ptrdiff_t)(SLAB_BYTES / group_bytes)));
    const ptrdiff_t units = v->slab * v->groups * v->strips;
    v->chunks = cnn_min(v->blocks, cnn_ceil_div(threads > 1 ? threads * TASKS_PER_THREAD : 1, units));
    v->chunk = cnn_ceil_div(v->blocks, v->chunks);
    v->chunks = cnn_ceil_div(v->blocks, v->chunk);
    v->scratch_size = kb * v->strip * v->col.out * L;
    v->taps_size = v->strip * area;
    v->counts_size = v->strip * FN(phases)(&v->col);
    v->staging_size = FN(edge_staging)(&v->from, L);

    cnn_carver carver = {0};
    for (int pass = 0; pass < 2; pass++) {
        if (pass && !(carver.base = carver.overflow ? NULL : cnn_workspace(carver.used))) return CNN_NO_MEMORY;
        carver.used = 0;
        v->packed = cnn_carve(&carver, v->groups * v->blocks * v->cin * area * kb, sizeof(REAL));
        v->source = cnn_carve(&carver, v->slab * v->groups * v->cin * v->row.in * v->width * L, sizeof(REAL));
        v->scratch = cnn_carve(&carver, threads * v->scratch_size, sizeof(REAL));
        v->staging = cnn_carve(&carver, threads * v->staging_size, sizeof(REAL));
        v->taps = cnn_carve(&carver, threads * v->taps_size, sizeof(FN(cnn_tap)));
        v->tap_counts = cnn_carve(&carver, threads * v->counts_size, sizeof(ptrdiff_t));
    }
    cnn_parallel_for(threads, v->groups * v->blocks, FN(pack_weights), v);
    for (v->first = 0; v->first < lane_groups; v->first += v->slab) {
        const ptrdiff_t here = cnn_min(v->slab, lane_groups - v->first);
        cnn_parallel_for(threads, here * v->groups * v->cin, FN(pack_source), v);
        cnn_parallel_for(threads, here * v->groups * v->strips * v->chunks, FN(tap_conv_task), v);
    }
    return CNN_OK;
}
