/* A convolution in one direction: one description, because forward and input gradient are both sums over taps. Included
 * once per REAL.
 *
 * An output row reads, for each tap row, one source row; an output pixel, for each tap column, one source column.
 * Forward, output o reads source o*stride + t*dilation - pad. For the gradient the source is dy, and o reads
 * (o + pad - t*dilation)/stride where that division is exact: the outputs fall into `stride` phases, each with its own
 * taps and each a convolution of stride 1. What lies outside the source are zeros in a halo of the packed planes. */

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
static int FN(reads)(const FN(axis) * a, ptrdiff_t o, ptrdiff_t t, ptrdiff_t *at) {
    const ptrdiff_t v = o + a->pad - t * a->dilation;
    *at = a->gradient ? v / a->stride : o * a->stride + t * a->dilation - a->pad;
    return !a->gradient || v % a->stride == 0;
}

/* The number of taps of phases [i, end). */
static ptrdiff_t FN(phase_taps)(const FN(axis) * a, ptrdiff_t i, ptrdiff_t end) {
    ptrdiff_t at, n = 0;
    for (; i < end; i++)
        for (ptrdiff_t t = 0; t < a->taps; t++) n += FN(reads)(a, i, t, &at);
    return n;
}

/* Zeros needed before and after the source so that no tap of any output leaves it. */
static void FN(halo)(const FN(axis) * a, ptrdiff_t *before, ptrdiff_t *after) {
    const ptrdiff_t reach = (a->taps - 1) * a->dilation;
    const ptrdiff_t least = a->gradient ? (a->pad - reach) / a->stride : -a->pad;
    const ptrdiff_t most = a->gradient ? (a->out - 1 + a->pad) / a->stride : (a->out - 1) * a->stride + reach - a->pad;
    *before = cnn_max(0, -least);
    *after = cnn_max(0, most - (a->in - 1));
}

/* A convolution in one direction, as this file and winograd.c take it. */
typedef struct {
    const FN(cnn_table) * table;
    ptrdiff_t groups, cin, cout;    /* channels per conv group, in the direction of this pass */
    FN(axis) row, col;              /* of an image; once the grid is chosen, of a patch */
    ptrdiff_t w_out, w_in, w_group; /* strides of the weight for an output channel, an input channel, a group */
    const REAL *w, *bias;
    FN(source) from;
    FN(sink) to;
    FN(edge) grid;                  /* how the outputs before pooling are cut into patches */
    int whole;                      /* images must not be cut */
    ptrdiff_t top, left;            /* where the axes' source index 0 lies in a plane of `from` */
} FN(conv);

/* Cuts the images into patches where there are too few to fill the lanes; the axes are those of a patch then. */
static void FN(conv_cut)(FN(conv) * c) {
    FN(edge) *from = &c->from.edge;
    FN(axis) *axes[] = {&c->row, &c->col};
    ptrdiff_t *steps[] = {&from->step_h, &from->step_w}, *begins[] = {&from->top, &from->left};
    const ptrdiff_t outs[] = {c->grid.step_h, c->grid.step_w};
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
    from->rows = c->row.in;
    from->cols = c->col.in;
}

/* Decides where the source of a direct sum has to lie. */
static void FN(conv_halo)(FN(conv) * c) {
    FN(edge) *e = &c->from.edge;
    ptrdiff_t below, right;
    if (c->grid.grid_h * c->grid.grid_w > 1) {
        FN(conv_cut)(c);
        return;
    }
    FN(halo)(&c->row, &e->top, &below);
    FN(halo)(&c->col, &e->left, &right);
    c->top = e->top;
    c->left = e->left;
    e->rows = e->top + c->row.in + below;
    e->cols = e->left + c->col.in + right;
}

/* How strided.c cuts an axis: tiles of `outputs` outputs, their sources `step` pixels apart, are made of sums of products. */
typedef struct {
    ptrdiff_t outputs, step;
    int weights;                    /* sums with weights of their own: what comes after has those of the last */
    int begin[6];                   /* of each sum: its first product */
    int pixel[5], minus[5], tap[5]; /* of each product: what it reads; from there to what is subtracted, or 0; its weight */
} FN(strided_way);

/* ---- the choice between tiles and the direct sum ------------------------------------------------------------ */

/* Patches of a forward pass begin at even places, whole tiles of m×m apart: a 2×2 pool may be fused, and changes no bits. */
static ptrdiff_t FN(patch_step)(ptrdiff_t m, int gradient) { return gradient || m % 2 == 0 ? m : 2 * m; }

/* Tiles of m×m outputs, in vectors of lanes, once the outputs are cut into patches. */
static double FN(tile_count)(const FN(edge) * out, ptrdiff_t m, int gradient, int whole) {
    const ptrdiff_t L = FN(cnn_kernels)()->lanes, step = FN(patch_step)(m, gradient);
    FN(edge) e = *out;
    FN(choose_grid)(L, step, step, whole, &e);
    return (double)cnn_ceil_div(FN(edge_items)(&e), L) * (double)(cnn_ceil_div(e.step_h, m) * cnn_ceil_div(e.step_w, m));
}

/* Winograd's tile size for a convolution with these outputs, or 0: the direct sum is less work. By multiply-adds (a
 * vector load or store counted as one): `products` those of a pair of pixels, `moves` what comes with each tile.
 * A function of the sizes and the instruction set alone, so that the same problem takes the same way everywhere. */
static int FN(tile_size)(const cnn_conv2d *p, const FN(edge) * out, int gradient, int whole, double direct, double products,
                         double moves) {
    const char *algorithm = cnn_get_algorithm();
    if (p->r != p->s || (p->r != 3 && p->r != 5) || p->stride_h != 1 || p->stride_w != 1 || p->dilation_h != 1 ||
        p->dilation_w != 1 || !strcmp(algorithm, "direct"))
        return 0;
    double least = 0.9 * FN(tile_count)(out, 1, 1, whole) * (double)(p->r * p->s) * direct;
    int best = 0;
    for (int n = 6; n <= 8; n++) {
        if ((n == 7 && p->r == 3) || (n == 8 && strcmp(algorithm, "fast"))) continue;
        const double cost = FN(tile_count)(out, n + 1 - p->r, gradient, whole) * n * n * (products + moves);
        if (cost >= least) continue;
        least = cost;
        best = n;
    }
    return best;
}
