/* Edges of the lane layout: NCHW images to lane planes and back. Included once per REAL.
 *
 * A lane holds one image, or, where there are fewer images than half the lanes, one patch of one image: the output is
 * cut into a grid of patches, each lane computes one, and the input patches overlap by what the filter reaches. To
 * whatever works on lane planes, patches are simply more and smaller images. */
#ifndef SLAB_BYTES
#define SLAB_BYTES (4 << 20) /* lane planes held at a time: they stay in a shared cache until they have been read */
#define MOST_LANES 16
#endif

/* How one array's images lie in lanes. Lane number i, counted over all groups of L, holds patch (i / grid_w % grid_h,
 * i % grid_w) of image i / (grid_h * grid_w). Row r, column c of patch (a, b) is pixel (a*step_h + r - top,
 * b*step_w + c - left) of the image, 0 outside of it. */
typedef struct {
    ptrdiff_t images, channels, h, w;
    ptrdiff_t grid_h, grid_w, step_h, step_w, top, left;
    ptrdiff_t rows, cols; /* of a lane plane */
    int lanes;            /* the array itself is in lane layout, [group][channel][h][w][L]: no grid then */
} FN(edge);

static ptrdiff_t FN(edge_items)(const FN(edge) * e) { return e->images * e->grid_h * e->grid_w; }

/* Which patch a lane of a group holds: a place in the grid of an image, counted within the group. */
typedef struct {
    ptrdiff_t image, row, col;
} FN(patch);

static void FN(next_patch)(const FN(edge) * e, FN(patch) * p) {
    if (++p->col < e->grid_w) return;
    p->col = 0;
    if (++p->row < e->grid_h) return;
    p->row = 0;
    p->image++;
}

/* Elements of staging memory that packing one lane plane takes: the padded images that its patches are cut from. */
static ptrdiff_t FN(edge_staging)(const FN(edge) * e, ptrdiff_t lanes) {
    const ptrdiff_t grid = e->grid_h * e->grid_w;
    if (grid == 1) return 0;
    return cnn_ceil_div(lanes, grid) * ((e->grid_h - 1) * e->step_h + e->rows) * ((e->grid_w - 1) * e->step_w + e->cols);
}

/* rows×cols pixels, of `depth` numbers each, of an image; (top, left) is where its (0, 0) comes to lie, outside is 0. */
static void FN(pad_image)(REAL *dst, const REAL *src, ptrdiff_t h, ptrdiff_t w, ptrdiff_t top, ptrdiff_t left,
                          ptrdiff_t rows, ptrdiff_t cols, ptrdiff_t depth) {
    const ptrdiff_t skip = cnn_max(0, -left), begin = cnn_min(cols, cnn_max(0, left));
    const ptrdiff_t count = cnn_max(0, cnn_min(w - skip, cols - begin));
    const size_t pixel = (size_t)depth * sizeof(REAL);
    for (ptrdiff_t r = 0; r < rows; r++, dst += cols * depth) {
        const int inside = r >= top && r - top < h && count > 0;
        const ptrdiff_t first = inside ? begin : 0, n = inside ? count : 0;
        memset(dst, 0, (size_t)first * pixel);
        if (n) memcpy(dst + first * depth, src + ((r - top) * w + skip) * depth, (size_t)n * pixel);
        memset(dst + (first + n) * depth, 0, (size_t)(cols - first - n) * pixel);
    }
}

/* One channel of lane group `group` into a lane plane. */
static void FN(pack_plane)(const FN(cnn_table) * t, const FN(edge) * e, REAL *dst, const REAL *x, ptrdiff_t group,
                           ptrdiff_t channel, REAL *staging) {
    if (e->lanes) {
        const REAL *plane = x + (group * e->channels + channel) * e->h * e->w * t->lanes;
        FN(pad_image)(dst, plane, e->h, e->w, e->top, e->left, e->rows, e->cols, t->lanes);
        return;
    }
    const ptrdiff_t L = t->lanes, grid = e->grid_h * e->grid_w, plane = e->h * e->w, stride = e->channels * plane;
    const ptrdiff_t image = group * L / grid;
    const REAL *src = x + image * stride + channel * plane;
    const int lanes = (int)cnn_min(L, FN(edge_items)(e) - group * L);
    if (grid == 1) {
        const ptrdiff_t skip = cnn_max(0, -e->left), begin = cnn_min(e->cols, cnn_max(0, e->left));
        const ptrdiff_t count = cnn_max(0, cnn_min(e->w - skip, e->cols - begin));
        if (e->top == 0 && e->left == 0 && e->cols == e->w && e->rows <= e->h) {
            t->lanes_from_planes(dst, src, stride, lanes, e->rows * e->cols);
            return;
        }
        for (ptrdiff_t r = 0; r < e->rows; r++, dst += e->cols * L) {
            if (r < e->top || r - e->top >= e->h || count == 0) {
                memset(dst, 0, (size_t)(e->cols * L) * sizeof(REAL));
                continue;
            }
            memset(dst, 0, (size_t)(begin * L) * sizeof(REAL));
            t->lanes_from_planes(dst + begin * L, src + (r - e->top) * e->w + skip, stride, lanes, count);
            memset(dst + (begin + count) * L, 0, (size_t)((e->cols - begin - count) * L) * sizeof(REAL));
        }
        return;
    }
    const ptrdiff_t height = (e->grid_h - 1) * e->step_h + e->rows, width = (e->grid_w - 1) * e->step_w + e->cols;
    const REAL *from[MOST_LANES];
    for (ptrdiff_t i = 0; i * grid < lanes; i++)
        FN(pad_image)(staging + i * height * width, src + i * stride, e->h, e->w, e->top, e->left, height, width, 1);
    for (ptrdiff_t r = 0; r < e->rows; r++, dst += e->cols * L) {
        FN(patch) p = {0};
        for (ptrdiff_t l = 0; l < lanes; l++, FN(next_patch)(e, &p))
            from[l] = staging + (p.image * height + p.row * e->step_h + r) * width + p.col * e->step_w;
        t->lanes_gather(dst, from, lanes, e->cols);
    }
}

/* Rows [row, row + rows), columns [col, col + cols) of a lane plane, at src with `pitch` positions from row to row, to
 * one channel of y; what lies outside an image, or in the next patch, is dropped. */
static void FN(unpack_rows)(const FN(cnn_table) * t, const FN(edge) * e, REAL *y, ptrdiff_t group, ptrdiff_t channel,
                            const REAL *src, ptrdiff_t pitch, ptrdiff_t row, ptrdiff_t rows, ptrdiff_t col,
                            ptrdiff_t cols) {
    const ptrdiff_t L = t->lanes, grid = e->grid_h * e->grid_w, plane = e->h * e->w, stride = e->channels * plane;
    const int lanes = (int)cnn_min(L, FN(edge_items)(e) - group * L);
    REAL *dst = y + group * L / grid * stride + channel * plane;
    if (grid == 1) {
        rows = cnn_min(rows, e->h - row);
        cols = cnn_min(cols, e->w - col);
        if (e->lanes) {
            dst = y + ((group * e->channels + channel) * plane + row * e->w + col) * L;
            for (ptrdiff_t r = 0; r < rows; r++)
                memcpy(dst + r * e->w * L, src + r * pitch * L, (size_t)(cols * L) * sizeof(REAL));
            return;
        }
        dst += row * e->w + col;
        if (cols == e->w && cols == pitch) t->planes_from_lanes(dst, stride, lanes, src, rows * cols);
        else
            for (ptrdiff_t r = 0; r < rows; r++)
                t->planes_from_lanes(dst + r * e->w, stride, lanes, src + r * pitch * L, cols);
        return;
    }
    REAL *to[MOST_LANES];
    ptrdiff_t counts[MOST_LANES];
    for (ptrdiff_t r = 0; r < cnn_min(rows, e->step_h - row); r++) {
        FN(patch) p = {0};
        for (ptrdiff_t l = 0; l < lanes; l++, FN(next_patch)(e, &p)) {
            const ptrdiff_t line = p.row * e->step_h + row + r, from = p.col * e->step_w + col;
            counts[l] = line < e->h ? cnn_max(0, cnn_min(cols, cnn_min(e->step_w - col, e->w - from))) : 0;
            to[l] = counts[l] ? dst + p.image * stride + line * e->w + from : NULL;
        }
        t->planes_scatter(to, counts, lanes, src + r * pitch * L, cols);
    }
}

/* The grid of patches for an edge's images: as many as fill the lanes, cut so that least is wasted. Patches begin at
 * multiples of `multiple_h`, `multiple_w`. None where `whole` images are asked for. */
static void FN(choose_grid)(ptrdiff_t lanes, ptrdiff_t multiple_h, ptrdiff_t multiple_w, int whole, FN(edge) * out) {
    const ptrdiff_t n = out->images, oh = out->h, ow = out->w;
    double least = (double)cnn_ceil_div(n, lanes) * (double)oh * (double)ow;
    out->grid_h = out->grid_w = 1;
    out->step_h = oh;
    out->step_w = ow;
    for (ptrdiff_t a = 1; !whole && 2 * n <= lanes && a <= lanes; a *= 2)
        for (ptrdiff_t b = 1; a * b <= lanes; b *= 2) {
            const ptrdiff_t h = cnn_ceil_div(cnn_ceil_div(oh, a), multiple_h) * multiple_h;
            const ptrdiff_t w = cnn_ceil_div(cnn_ceil_div(ow, b), multiple_w) * multiple_w;
            const double positions = (double)cnn_ceil_div(n * a * b, lanes) * (double)h * (double)w;
            if (positions >= 0.9 * least) continue;
            least = positions;
            out->grid_h = a;
            out->grid_w = b;
            out->step_h = h;
            out->step_w = w;
        }
}
