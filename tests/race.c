/* Several threads call the drivers at once, each with a pool of threads behind it, for ThreadSanitizer to watch:
 * tools/sanitize.sh thread. Each thread's results must be those of a call on one thread, bit for bit. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cnn.h"

enum { CALLERS = 4, ROUNDS = 6, N = 20, C = 6, SIZE = 14, K = 18, TAPS = 3, CLASSES = 10 };
enum { IMAGE = SIZE * SIZE, X = N * C * IMAGE, Y = N * K * IMAGE, W = K * C * TAPS * TAPS };
enum { POOLED = Y / 4, DENSE = CLASSES * POOLED / N };
enum { RESULTS = 3 * Y + X + W + K + 2 * POOLED + DENSE + 3 * N * CLASSES + CLASSES + 3 * K };

static float x[X], w[W], b[K], dense[DENSE];
static float expected[RESULTS];

static void fill(float *a, int n, unsigned seed) {
    for (int i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        a[i] = (float)(seed >> 8) / (1 << 24) - 0.5f;
    }
}

static void demand(int holds, const char *what) {
    if (holds) return;
    fprintf(stderr, "race: %s\n", what);
    exit(1);
}

/* One training step's worth of calls; `results` is written from its start to its end. */
static void step(float *results) {
    const cnn_conv2d conv = {N, C, SIZE, SIZE, K, TAPS, TAPS, SIZE, SIZE, 1, 1, 1, 1, 1, 1, 1};
    const cnn_conv2d_fusion plain = {0, 0, 0, 0};
    const cnn_pool2d pool = {N * K, SIZE, SIZE, SIZE / 2, SIZE / 2, 2, 2, 2, 2, 0, 0, 0, 0};
    const cnn_linear linear = {N, CLASSES, POOLED / N, 0, 0, 0};
    float *y = results, *normed = y + Y, *dy = normed + Y, *pooled = dy + Y, *dpooled = pooled + POOLED, *dx = dpooled + POOLED;
    float *dw = dx + X, *db = dw + W, *mean = db + K, *var = mean + K, *dscale = var + K, *ddense = dscale + K;
    float *out = ddense + DENSE, *dout = out + N * CLASSES, *dropped = dout + N * CLASSES, *dbias = dropped + N * CLASSES;
    const int64_t labels[N] = {0};
    double loss = 0;
    int bad = cnn_conv2d_forward_f32(y, NULL, x, w, b, NULL, &conv, &plain);
    bad |= cnn_batch_moments_f32(mean, var, y, N, K, IMAGE);
    bad |= cnn_batch_norm_forward_f32(normed, y, mean, var, NULL, NULL, N, K, IMAGE, 1e-5, 1);
    bad |= cnn_max_pool2d_forward_f32(pooled, NULL, normed, &pool);
    bad |= cnn_linear_forward_f32(out, pooled, dense, NULL, &linear);
    bad |= cnn_dropout_f32(dropped, out, N, CLASSES, 0.5, 7);
    bad |= cnn_cross_entropy_f32(&loss, dout, out, labels, NULL, N, CLASSES);
    bad |= cnn_linear_backward_f32(dpooled, ddense, dbias, dout, pooled, dense, NULL, NULL, NULL, &linear);
    bad |= cnn_max_pool2d_grad_f32(dy, dpooled, normed, NULL, &pool);
    bad |= cnn_batch_norm_grad_f32(dy, dscale, db, dy, y, mean, var, NULL, NULL, N, K, IMAGE, 1e-5, 1);
    bad |= cnn_conv2d_backward_f32(dx, dw, db, dy, NULL, NULL, x, w, &conv, &plain);
    cnn_sgd_step_f32(dw, NULL, dw, W, 0.1, 0, 0, 0);
    demand(!bad, "a driver refused its arguments");
}

static void *call(void *number) {
    float *results = malloc(sizeof expected);
    demand(results != NULL, "no memory");
    for (int round = 0; round < ROUNDS; round++) {
        if (number == (void *)0) cnn_set_threads(1 + round % 4); /* a caller may change it while others compute */
        memset(results, 0xff, sizeof expected);
        step(results);
        demand(!memcmp(results, expected, sizeof expected), "other threads changed a result");
    }
    cnn_release_workspace();
    free(results);
    return NULL;
}

int main(void) {
    pthread_t callers[CALLERS];
    fill(x, X, 1), fill(w, W, 2), fill(b, K, 3), fill(dense, DENSE, 4);
    for (int algorithm = 0; algorithm < 2; algorithm++) {
        cnn_set_algorithm(algorithm ? "direct" : "accurate");
        cnn_set_threads(1);
        memset(expected, 0xff, sizeof expected);
        step(expected);
        cnn_set_threads(4);
        for (size_t i = 0; i < CALLERS; i++) demand(!pthread_create(&callers[i], NULL, call, (void *)i), "no thread");
        for (int i = 0; i < CALLERS; i++) pthread_join(callers[i], NULL);
    }
    puts("no race");
    return 0;
}
