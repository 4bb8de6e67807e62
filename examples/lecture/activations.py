"""Activations: their curves and derivatives, and what is left of a gradient after many of them (L15 to L19).

    python examples/lecture/activations.py           a few seconds; --full: a stack of 100 layers instead of 20

The derivative of a sigmoid is at most ¼, so that a gradient shrinks at each one that it passes on its way down. Where
a rectifier is active, it is 1, and He's initial weights make up for where it is not. The PReLU learns its slope:
trained on |x|, it finds α = -1.
"""

import numpy as np
from common import options

from cnnlib import SGD, LeakyReLU, Linear, MSELoss, PReLU, ReLU, Sequential, Sigmoid, Tanh, Trainer
from cnnlib.drawing import node_gradients
from cnnlib.plots.canvas import canvas, finish, panels

args = options(__doc__)
rng = np.random.default_rng(args.seed)
depth, width = 100 if args.full else 20, 256
marks = (1, 10, 50, 100) if args.full else (1, 5, 10, 20)

kinds = {
    "sigmoid": (Sigmoid, "-"),
    "tanh": (Tanh, "--"),
    "ReLU": (ReLU, "-"),
    "leaky ReLU": (lambda: LeakyReLU(0.1), "-."),
    "PReLU": (lambda: PReLU(init=0.25, dtype=np.float64), ":"),
}
figure, ax = canvas(None, (10, 8))
curves, slopes, passing, learning = panels(ax, 2, 2)

print(f"            derivative at     gradient left after so many layers of {width} neurons")
print("             -2     0     2 ", *(f"{k:9}" for k in marks))
for name, (kind, style) in kinds.items():
    x = np.linspace(-4, 4, 401)[:, None]
    layer = kind()
    curves.plot(x, layer.forward(x, training=True), style, label=name)
    derivative = layer.backward(np.ones_like(x))
    slopes.plot(x, derivative, style)

    # [Linear, activation] × depth; the gradient of a random sum of the outputs, relative to what goes in at the top.
    layers = []
    for _ in range(depth):
        layers += [Linear(width, width, init="he_normal", rng=rng, dtype=np.float64), kind()]
    model = Sequential(*layers, input_shape=width)
    _, gradients = node_gradients(model.graph, rng.normal(size=(10, width)), rng.normal(size=(10, width)))
    sizes = np.array([np.linalg.norm(gradient) for gradient in gradients[::-2]])
    passing.semilogy(sizes / sizes[0], style)
    left = (f"{sizes[k] / sizes[0]:9.1e}" for k in marks)
    print(f"{name:<10}", *(f"{derivative[200 + 50 * k, 0]:5.2f}" for k in (-2, 0, 2)), " ", *left)

# y = max(0, x) + α min(0, x) is |x| for α = -1.
prelu = PReLU(init=0.25, dtype=np.float64)
trainer = Trainer(Sequential(prelu, input_shape=1), MSELoss(), SGD(0.1))
alpha = [prelu.weight.data[0]]
for _ in range(200):
    x = rng.normal(size=(20, 1))
    trainer.train_step(x, np.abs(x))
    alpha.append(prelu.weight.data[0])
print(f"PReLU on |x|: α goes from {alpha[0]:.2f} to {alpha[-1]:.4f}")
learning.plot(alpha)
curves.set(title="Output", xlabel="input", ylim=(-1.5, 4))
curves.legend(frameon=False)
slopes.set(title="Derivative", xlabel="input")
passing.set(title="Gradient left on its way down, of 1 at the top", xlabel="layers passed", xticks=(0, *marks))
learning.set(title="PReLU trained on |x| finds the slope α = -1", xlabel="iteration", ylabel="α")
for panel in (curves, slopes, passing, learning):
    panel.grid(alpha=0.3)
finish(figure, args.save)
