/* Settings of the optimizers' kernels, from the numbers of cnn.h: everything rounded to REAL once. Included once per REAL. */

static FN(cnn_sgd) FN(sgd_settings)(double lr, double momentum, double decay, int nesterov) {
    return (FN(cnn_sgd)){(REAL)lr, (REAL)momentum, (REAL)decay, nesterov};
}

static FN(cnn_adam) FN(adam_settings)(double step, double lr, double beta1, double beta2, double eps, double decay,
                                      int decoupled) {
    return (FN(cnn_adam)){
        .beta1 = (REAL)beta1, .beta2 = (REAL)beta2, .rest1 = (REAL)(1 - beta1), .rest2 = (REAL)(1 - beta2),
        .eps = (REAL)eps, .decay = (REAL)(decoupled ? 0 : decay), .shrink = (REAL)(decoupled ? 1 - lr * decay : 1),
        .rate = (REAL)(lr / (1 - pow(beta1, step))), .root = (REAL)sqrt(1 - pow(beta2, step))};
}
