"""Linear regression, y = Σ w_i x_i + b, learned by stochastic gradient descent (L01, L11).

    python examples/lecture/linear_regression.py           a few seconds; --full: 100 times as many samples

The data are made of known weights and noise: what is learned can be compared with the truth, and with the least
squares of all samples. In the graph that is drawn the bias is one more weight, w0, of a constant input x0 = 1.
"""

import numpy as np
from common import options

from cnnlib import SGD, Add, CosineLR, Input, Linear, Model, MSELoss, Sequential, plots
from cnnlib.plots.canvas import canvas, finish, panels

args = options(__doc__, epochs=20, full_epochs=2)
rng = np.random.default_rng(args.seed)

truth, noise = np.array([1.0, 3.0, -2.0]), 0.5  # b, w1, w2
samples, batch_size = 100_000 if args.full else 1_000, 20
x = rng.normal(size=(samples, 2))
y = truth[0] + x @ truth[1:, None] + rng.normal(0, noise, (samples, 1))

linear = Linear(2, 1, rng=rng, dtype=np.float64)
model, loss, optimizer = Sequential(linear, input_shape=2), MSELoss(), SGD(CosineLR(0.05, args.epochs))
path, costs = [], []
for iteration in range(args.epochs * samples // batch_size):
    batch = rng.integers(samples, size=batch_size)
    z = model.forward(x[batch], training=True)  # bottom to top
    costs.append(2 * loss.forward(z, y[batch]))  # MSELoss has the ½ of L20, the J of L01 has not
    model.zero_grad()
    model.backward(loss.backward())  # top to bottom
    optimizer.epoch = iteration * batch_size / samples
    optimizer.step(model.parameters())  # w ← w - lr ∂J/∂w
    path.append([*linear.bias.data, *linear.weight.data[0]])

ones = np.ones((samples, 1))
exact = np.linalg.lstsq(np.hstack([ones, x]), y, rcond=None)[0][:, 0]
print(f"{samples:,} samples, noise of variance {noise**2:g}, {len(path):,} iterations of {batch_size}")
print("weight    truth  learned  least squares")
for i, name in enumerate(["w0 = b", "w1", "w2"]):
    print(f"{name:<6} {truth[i]:8.4f} {path[-1][i]:8.4f} {exact[i]:14.4f}")
print(
    f"J of a batch: {np.mean(costs[:10]):.3f} in the first ten iterations, {np.mean(costs[-100:]):.3f} in the last 100"
)

# The graph of one sample, every number a node, at w = (0, 1, 1), x = (1, 2, -1) and ŷ = 9: J = (y - ŷ)².
nodes = [Input((), name) for name in ("w0", "x0", "w1", "x1", "w2", "x2", "ŷ")]
w0, x0, w1, x1, w2, x2, target = nodes
weighted_sum = Add(name="y")((w0 * x0).named("p0"), (w1 * x1).named("p1"), (w2 * x2).named("p2"))
error = (weighted_sum - target).named("e")
graph = Model(nodes, (error * error).named("J"))

figure, ax = canvas(None, (11, 10))
top, bottom = panels(ax, 2, heights=[3, 1])
plots.graph(graph, (0, 1, 1, 2, 1, -1, 9), ax=top)
for i, name in enumerate(["$w_0 = b$", "$w_1$", "$w_2$"]):
    (line,) = bottom.plot([point[i] for point in path], label=name)
    bottom.axhline(truth[i], color=line.get_color(), linestyle=":")
bottom.set(xlabel="iteration", title="The weights, and (dotted) those that the data were made of")
bottom.legend(frameon=False, loc="center", ncols=3)
finish(figure, args.save)
