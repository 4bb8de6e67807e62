/* Gradients of the fully-connected layer, and the optimizer's step, in one pass over the weight.
 *
 *   dx = dz w    rows are images (scalars of dz), vectors run along the inputs in w
 *   dw = dz' x   rows are outputs (scalars of dz), vectors run along the inputs in x
 *
 * A panel is some columns of w, x, dx and dw. Block after block of its rows, w is multiplied by dz into dx, then the same
 * block of dw is computed and the block of w stepped, while the next block is fetched: w and the optimizer's state come
 * from memory once. Threads share out panels; where there are too few, first dx by images, then dw by outputs. */

/* Sizes that keep a block of everything, and the next one, in a second-level cache of 512 KB. Few images leave more
 * room, and less to compute: then long runs of w count. */
#define DENSE_PANEL_BYTES(few) ((few) ? 16 << 10 : 512) /* of a row */
#define DENSE_BLOCK_ROWS(few, update) ((few) ? 16 : (update) ? 64 : 128)
#define DENSE_BLOCK_IMAGES 256
#define FETCH_BYTES (256 << 10) /* a smaller w is in cache anyway */
#define TURN_OUTPUTS 64         /* of up to so many, the scalars of all outputs and a block's images fit the first cache */

typedef struct {
    const FN(cnn_table) * table;
    const cnn_linear *p;
    REAL *dx, *dw; /* each may be NULL */
    const REAL *dz, *turned, *x, *w; /* turned: dz', or NULL */
    REAL *const *state;
    const cnn_update *update; /* NULL: none */
    int *finite; /* every gradient so far */
    FN(cnn_sgd) sgd;
    FN(cnn_adam) adam;
    ptrdiff_t samples;                      /* n, up to whole vectors: a row of turned */
    ptrdiff_t width, panels, ranges, parts; /* columns of a panel; tasks: ranges of panels × parts of images or outputs */
    ptrdiff_t images, rows;                 /* of a block */
    int copies_w, copies_x, fetches;
    REAL *scratch;
    ptrdiff_t scratch_size, w_size, x_size, dx_size; /* elements: of a thread, and of what it is made of */
} FN(dense_grad);

/* Where a task stands: images n0 ... n0 + n, outputs m0 ... m0 + m, columns col ... col + cols; its copies of the blocks. */
typedef struct {
    ptrdiff_t n0, n, m0, m, col, cols;
    REAL *w, *x, *dx, *dw;
} FN(dense_block);

static int FN(wants_dw)(const FN(dense_grad) * v) { return v->dw || v->update; }

/* m rows from m0 on of what a block of dw needs, to be fetched while another block of as many images is computed. */
static FN(ahead) FN(dense_ahead)(const FN(dense_grad) * v, ptrdiff_t n, ptrdiff_t m0, ptrdiff_t m, ptrdiff_t col) {
    const ptrdiff_t at = m0 * v->p->inputs + col;
    const ptrdiff_t tiles = (v->dx ? FN(tiles)(v->table, n, v->width) : 0) +
                            (FN(wants_dw)(v) ? FN(tiles)(v->table, v->rows, v->width) : 0);
    return (FN(ahead)){.array = {v->dx || v->update ? v->w + at : NULL, v->dw ? v->dw + at : NULL,
                                 v->update && v->state[1] ? v->state[1] + at : NULL,
                                 v->update && v->update->adam ? v->state[2] + at : NULL},
                       .stride = v->p->inputs, .cols = cnn_min(v->width, v->p->inputs - col), .rows = m,
                       .some = cnn_ceil_div(m, tiles)};
}

/* Rows of w lie pages apart: where they serve many images, or fewer but fall into the same cache sets, they are
 * gathered first. */
static void FN(dense_dx)(const FN(dense_grad) * v, const FN(dense_block) * b, FN(ahead) * ahead) {
    const ptrdiff_t inputs = v->p->inputs, outputs = v->p->outputs, lanes = v->p->x_lanes, L = v->table->lanes;
    const REAL *w = v->w + b->m0 * inputs + b->col;
    for (ptrdiff_t i = 0; v->copies_w && i < b->m; i++)
        memcpy(b->w + i * v->width, w + i * inputs, (size_t)b->cols * sizeof(REAL));
    const FN(cnn_gemm_tile) tile = {
        .c = lanes ? b->dx : v->dx + b->n0 * inputs + b->col, .c_i = lanes ? v->width : inputs, .c_j = L,
        .a = v->dz + b->n0 * outputs + b->m0, .a_i = outputs, .a_p = 1,
        .b = v->copies_w ? b->w : w, .b_p = v->copies_w ? v->width : inputs, .b_j = L,
        .depth = b->m, .accumulate = b->m0 > 0};
    FN(multiply)(v->table, tile, b->n, b->cols, ahead);
}

static void FN(dense_dx_to_lanes)(const FN(dense_grad) * v, const FN(dense_block) * b) {
    const ptrdiff_t L = v->table->lanes;
    for (ptrdiff_t i = 0; i < b->n; i += L)
        v->table->lanes_from_planes(v->dx + (b->n0 + i) * v->p->inputs + b->col * L, b->dx + i * v->width, v->width,
                                    (int)cnn_min(L, b->n - i), b->cols);
}

static void FN(dense_gather_x)(const FN(dense_grad) * v, const FN(dense_block) * b) {
    const ptrdiff_t L = v->table->lanes, inputs = v->p->inputs;
    for (ptrdiff_t i = 0; v->p->x_lanes && i < b->n; i += L)
        v->table->planes_from_lanes(b->x + i * v->width, v->width, (int)cnn_min(L, b->n - i),
                                    v->x + (b->n0 + i) * inputs + b->col * L, b->cols);
    for (ptrdiff_t i = 0; !v->p->x_lanes && i < b->n; i++)
        memcpy(b->x + i * v->width, v->x + (b->n0 + i) * inputs + b->col, (size_t)b->cols * sizeof(REAL));
}

/* And, once all images are in, the step. */
static void FN(dense_dw)(const FN(dense_grad) * v, const FN(dense_block) * b, FN(ahead) * ahead) {
    const ptrdiff_t inputs = v->p->inputs, outputs = v->p->outputs, at = b->m0 * inputs + b->col;
    const ptrdiff_t stride = v->dw ? inputs : v->width;
    REAL *dw = v->dw ? v->dw + at : b->dw;
    const FN(cnn_gemm_tile) tile = {
        .c = dw, .c_i = stride, .c_j = v->table->lanes,
        .a = v->turned ? v->turned + b->m0 * v->samples + b->n0 : v->dz + b->n0 * outputs + b->m0,
        .a_i = v->turned ? v->samples : 1, .a_p = v->turned ? 1 : outputs,
        .b = v->copies_x ? b->x : v->x + b->n0 * inputs + b->col, .b_p = v->copies_x ? v->width : inputs,
        .b_j = v->table->lanes, .depth = b->n, .accumulate = b->n0 > 0};
    FN(multiply)(v->table, tile, b->m, b->cols, ahead);
    if (!v->update || b->n0 + b->n < v->p->n) return;
    REAL *const *s = v->state;
    int finite = 1;
    if (v->update->check) v->table->finite(&finite, dw, b->cols, b->m, stride);
    if (!finite) __atomic_store_n(v->finite, 0, __ATOMIC_RELAXED);
    for (ptrdiff_t i = 0; i < b->m; i++) {
        const ptrdiff_t row = at + i * inputs;
        REAL *g = dw + i * stride;
        int steps = 1;
        if (!finite) v->table->finite(&steps, g, b->cols, 1, 0);
        if (steps && v->update->adam) v->table->adam(s[0] + row, g, s[1] + row, s[2] + row, b->cols, &v->adam);
        else if (steps) v->table->sgd(s[0] + row, g, s[1] ? s[1] + row : NULL, b->cols, &v->sgd);
    }
}

typedef struct {
    ptrdiff_t n_from, n_to, m_from, m_to;
} FN(dense_part);

static void FN(dense_panel)(const FN(dense_grad) * v, ptrdiff_t panel, int next, FN(dense_part) part, REAL *scratch) {
    const ptrdiff_t block = v->images < v->p->n ? v->width : 0; /* dw of all rows is kept until the last images */
    FN(dense_block) b = {.col = panel * v->width, .w = scratch, .x = scratch + v->w_size};
    b.cols = cnn_min(v->width, v->p->inputs - b.col);
    b.dx = b.x + v->x_size;
    for (b.n0 = part.n_from; b.n0 < part.n_to; b.n0 += v->images) {
        b.n = cnn_min(v->images, part.n_to - b.n0);
        if (FN(wants_dw)(v) && v->copies_x) FN(dense_gather_x)(v, &b);
        for (b.m0 = part.m_from; b.m0 < part.m_to; b.m0 += v->rows) {
            b.m = cnn_min(v->rows, part.m_to - b.m0);
            b.dw = b.dx + v->dx_size + (b.m0 - part.m_from) * block;
            FN(ahead) ahead = {0};
            const ptrdiff_t follows = b.m0 + b.m;
            if (v->fetches && follows < part.m_to)
                ahead = FN(dense_ahead)(v, b.n, follows, cnn_min(v->rows, part.m_to - follows), b.col);
            else if (v->fetches && next && b.n0 + b.n == part.n_to)
                ahead = FN(dense_ahead)(v, b.n, part.m_from, cnn_min(v->rows, part.m_to - part.m_from), b.col + v->width);
            if (v->dx) FN(dense_dx)(v, &b, &ahead);
            if (FN(wants_dw)(v)) FN(dense_dw)(v, &b, &ahead);
        }
        if (v->dx && v->p->x_lanes) FN(dense_dx_to_lanes)(v, &b);
    }
}

static void FN(dense_task)(const void *context, ptrdiff_t task, int thread) {
    const FN(dense_grad) *v = context;
    const ptrdiff_t range = task / v->parts, k = task % v->parts, L = v->table->lanes, groups = cnn_ceil_div(v->p->n, L);
    const ptrdiff_t from = v->panels * range / v->ranges, to = v->panels * (range + 1) / v->ranges;
    FN(dense_part) part = {0, v->p->n, 0, v->p->outputs};
    if (v->parts > 1 && v->dx) {
        part.n_from = groups * k / v->parts * L;
        part.n_to = cnn_min(v->p->n, groups * (k + 1) / v->parts * L);
    } else if (v->parts > 1) {
        part.m_from = v->p->outputs * k / v->parts;
        part.m_to = v->p->outputs * (k + 1) / v->parts;
    }
    for (ptrdiff_t panel = from; panel < to; panel++)
        FN(dense_panel)(v, panel, panel + 1 < to, part, v->scratch + thread * v->scratch_size);
}

/* dz of L images, in rows, and, where `turned` is not NULL, in columns. */
typedef struct {
    const FN(cnn_table) * table;
    const cnn_linear *p;
    REAL *dz, *turned, *lanes;
    ptrdiff_t samples;
    const REAL *dy, *y;
} FN(dense_mask);

static void FN(mask_task)(const void *context, ptrdiff_t g, int thread) {
    const FN(dense_mask) *v = context;
    const ptrdiff_t L = v->table->lanes, cols = v->p->outputs, at = g * L * cols, images = cnn_min(L, v->p->n - g * L);
    const REAL *dz = v->dy + at;
    REAL *lanes = v->lanes + thread * L * cols;
    if (v->p->relu) {
        REAL *masked = v->p->y_lanes ? lanes : v->dz + at;
        v->table->relu_grad(masked, dz, v->y + at, (v->p->y_lanes ? L : images) * cols, 0);
        dz = masked;
    }
    if (v->p->y_lanes) v->table->planes_from_lanes(v->dz + at, cols, (int)images, dz, cols);
    else if (v->turned) {
        v->table->lanes_from_planes(lanes, dz, cols, (int)images, cols);
        dz = lanes;
    }
    for (ptrdiff_t m = 0; v->turned && m < cols; m++)
        memcpy(v->turned + m * v->samples + g * L, dz + m * L, (size_t)L * sizeof(REAL));
}

typedef struct {
    const FN(cnn_table) * table;
    REAL *db;
    const REAL *dz;
    ptrdiff_t n, outputs;
} FN(bias_grad);

#define BIAS_OUTPUTS 64

static void FN(bias_task)(const void *context, ptrdiff_t task, int thread) {
    const FN(bias_grad) *v = context;
    (void)thread;
    v->table->sum_rows(v->db, v->dz, v->n, v->outputs, task * BIAS_OUTPUTS, cnn_min(v->outputs, (task + 1) * BIAS_OUTPUTS));
}

cnn_status FN(cnn_linear_backward)(REAL *dx, REAL *dw, REAL *db, const REAL *dy, const REAL *x, const REAL *w, const REAL *y,
                               REAL *const state[3], const cnn_update *update, const cnn_linear *p) {
    if (!FN(linear_valid)(p)) return CNN_BAD_SIZE;
    const FN(cnn_table) *t = FN(cnn_kernels)();
    const ptrdiff_t L = t->lanes, size = (ptrdiff_t)sizeof(REAL), outputs = p->outputs, inputs = p->inputs;
    const ptrdiff_t groups = cnn_ceil_div(p->n, L), vectors = cnn_ceil_div(inputs, L), nb = t->gemm_nb;
    const double work = (double)p->n * (double)outputs;
    const int threads_dz = cnn_threads_for(work), threads = cnn_threads_for(work * (double)inputs / 4), few = 2 * p->n <= L;
    int finite = 1;
    FN(dense_grad) v = {.table = t, .p = p, .dx = dx, .dw = dw, .x = x, .w = w, .state = state, .update = update,
                          .finite = &finite};
    if (update && update->adam)
        v.adam = FN(adam_settings)(update->step, update->lr, update->beta1, update->beta2, update->eps, update->decay,
                                   update->decoupled);
    else if (update) v.sgd = FN(sgd_settings)(update->lr, update->momentum, update->decay, update->nesterov);
    const ptrdiff_t most = cnn_max(1, DENSE_PANEL_BYTES(few) / (L * size * nb));
    v.width = cnn_min(most, cnn_ceil_div(vectors, (threads > 1 ? 2 * threads : 1) * nb)) * nb * L;
    v.panels = cnn_ceil_div(inputs, v.width);
    v.parts = v.panels < threads ? cnn_ceil_div(2 * threads, v.panels) : 1;
    v.ranges = v.parts > 1 || threads > 1 ? cnn_min(v.panels, TASKS_PER_THREAD * threads) : 1;
    v.samples = groups * L;
    v.rows = cnn_ceil_div(outputs, cnn_ceil_div(outputs, DENSE_BLOCK_ROWS(few, update != NULL)));
    v.images = cnn_ceil_div(groups, cnn_ceil_div(p->n, DENSE_BLOCK_IMAGES)) * L;
    v.copies_w = dx && p->n > (inputs * size % 1024 ? 8 : 2) * t->gemm_mb;
    v.copies_x = p->x_lanes || outputs > 4 * t->gemm_mb;
    v.fetches = outputs * inputs * size > FETCH_BYTES;
    v.w_size = v.copies_w ? v.rows * v.width : 0;
    v.x_size = v.copies_x && FN(wants_dw)(&v) ? cnn_min(v.images, p->n) * v.width : 0;
    v.dx_size = dx && p->x_lanes ? cnn_min(v.images, p->n) * v.width : 0;
    v.scratch_size = v.w_size + v.x_size + v.dx_size;
    if (update && !dw) v.scratch_size += (v.images < p->n ? outputs : v.rows) * v.width;

    const int rows = p->relu || p->y_lanes, turns = FN(wants_dw)(&v) && outputs > TURN_OUTPUTS;
    FN(dense_mask) mask = {.table = t, .p = p, .dy = dy, .y = y, .samples = v.samples};
    cnn_carver carver = {0};
    for (int pass = 0; pass < 2; pass++) {
        if (pass && !carver.used && !carver.overflow) break; /* all in place */
        if (pass && !(carver.base = carver.overflow ? NULL : cnn_workspace(carver.used))) return CNN_NO_MEMORY;
        carver.used = 0;
        v.scratch = cnn_carve(&carver, threads * v.scratch_size, sizeof(REAL));
        mask.dz = cnn_carve(&carver, rows ? p->n * outputs : 0, sizeof(REAL));
        mask.turned = cnn_carve(&carver, turns ? v.samples * outputs : 0, sizeof(REAL));
        mask.lanes = cnn_carve(&carver, p->y_lanes || turns ? threads_dz * L * outputs : 0, sizeof(REAL));
    }
    v.turned = mask.turned = turns ? mask.turned : NULL;
    if (rows || turns) cnn_parallel_for(threads_dz, groups, FN(mask_task), &mask);
    v.dz = rows ? mask.dz : dy;
    if (db) {
        const FN(bias_grad) b = {t, db, v.dz, p->n, outputs};
        cnn_parallel_for(threads_dz, cnn_ceil_div(outputs, BIAS_OUTPUTS), FN(bias_task), &b);
    }
    FN(dense_grad) only_dx = v;
    if (v.parts > 1) {
        only_dx.update = NULL;
        v.dx = only_dx.dw = NULL;
        if (dx) cnn_parallel_for(threads, v.ranges * v.parts, FN(dense_task), &only_dx);
    }
    if (v.dx || FN(wants_dw)(&v)) cnn_parallel_for(threads, v.ranges * v.parts, FN(dense_task), &v);
    return finite ? CNN_OK : CNN_NOT_FINITE;
}
