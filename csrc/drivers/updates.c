/* The optimizers' updates: arrays are cut into chunks. */

typedef struct FN(updated) {
    const FN(cnn_table) * table;
    REAL *w, *state[3]; /* NULL where there is none */
    const REAL *g;
    ptrdiff_t size;
    void (*take)(const struct FN(updated) * u, ptrdiff_t i, ptrdiff_t n);
    union {
        FN(cnn_sgd) sgd;
        FN(cnn_adam) adam;
        FN(cnn_rmsprop) rmsprop;
        FN(cnn_adagrad) adagrad;
        FN(cnn_lion) lion;
    };
} FN(updated);

static void FN(update_task)(const void *context, ptrdiff_t task, int thread) {
    const FN(updated) *u = context;
    (void)thread;
    u->take(u, task * CHUNK, cnn_min(CHUNK, u->size - task * CHUNK));
}

static void FN(update_all)(FN(updated) * u) {
    u->table = FN(cnn_kernels)();
    cnn_parallel_for(cnn_threads_for((double)u->size), cnn_ceil_div(u->size, CHUNK), FN(update_task), u);
}

/* The chunks' bodies: elements [i, i + n). */
#define STATE(k) (u->state[k] ? u->state[k] + i : NULL)
#define TAKE(rule, ...)                                                                          \
    static void FN(rule##_take)(const FN(updated) * u, ptrdiff_t i, ptrdiff_t n) {               \
        u->table->rule(u->w + i, u->g + i, __VA_ARGS__, n, &u->rule);                            \
    }
TAKE(sgd, STATE(0))
TAKE(adam, STATE(0), STATE(1))
TAKE(rmsprop, STATE(0), STATE(1), STATE(2))
TAKE(adagrad, STATE(0))
TAKE(lion, STATE(0))
#undef TAKE
#undef STATE

void FN(cnn_sgd_step)(REAL *w, REAL *velocity, const REAL *g, ptrdiff_t size, double lr, double momentum, double decay,
                      int nesterov) {
    FN(updated) u = {.w = w, .state = {velocity}, .g = g, .size = size, .take = FN(sgd_take),
                     .sgd = FN(sgd_settings)(lr, momentum, decay, nesterov)};
    FN(update_all)(&u);
}

void FN(cnn_adam_step)(REAL *w, REAL *m, REAL *v, const REAL *g, ptrdiff_t size, double step, double lr, double beta1,
                       double beta2, double eps, double decay, int decoupled) {
    FN(updated) u = {.w = w, .state = {m, v}, .g = g, .size = size, .take = FN(adam_take),
                     .adam = FN(adam_settings)(step, lr, beta1, beta2, eps, decay, decoupled)};
    FN(update_all)(&u);
}

void FN(cnn_rmsprop_step)(REAL *w, REAL *v, REAL *m, REAL *velocity, const REAL *g, ptrdiff_t size, double lr,
                          double alpha, double eps, double decay, double momentum) {
    FN(updated) u = {.w = w, .state = {v, m, velocity}, .g = g, .size = size, .take = FN(rmsprop_take),
                     .rmsprop = {(REAL)lr, (REAL)alpha, (REAL)(1 - alpha), (REAL)eps, (REAL)decay, (REAL)momentum}};
    FN(update_all)(&u);
}

void FN(cnn_adagrad_step)(REAL *w, REAL *sum, const REAL *g, ptrdiff_t size, double step, double lr, double lr_decay,
                          double eps, double decay) {
    FN(updated) u = {.w = w, .state = {sum}, .g = g, .size = size, .take = FN(adagrad_take),
                     .adagrad = {(REAL)(lr / (1 + (step - 1) * lr_decay)), (REAL)decay, (REAL)eps}};
    FN(update_all)(&u);
}

void FN(cnn_lion_step)(REAL *w, REAL *m, const REAL *g, ptrdiff_t size, double lr, double beta1, double beta2,
                       double decay) {
    FN(updated) u = {.w = w, .state = {m}, .g = g, .size = size, .take = FN(lion_take),
                     .lion = {(REAL)lr, (REAL)beta1, (REAL)beta2, (REAL)(1 - beta1), (REAL)(1 - beta2),
                              (REAL)(1 - lr * decay)}};
    FN(update_all)(&u);
}
