"""Logistic regression tells 3 from 8, softmax regression all ten digits (L02, L03).

    python examples/lecture/logistic_regression.py           a few seconds; --full: on all of MNIST

Each is trained twice: plain, where a layer makes probabilities p and the loss reads them, and fused, where the loss
reads the scores y. Both have the same J and the same gradient, ∂J/∂y = p - ŷ. Only the fused one bears any score.
"""

import numpy as np
from common import digits, options

from cnnlib import SGD, BCELoss, CrossEntropyLoss, Flatten, Linear, Sequential, Sigmoid, Softmax, Trainer
from cnnlib.metrics import Accuracy, BinaryAccuracy
from cnnlib.plots.canvas import canvas, finish, panels, show_mosaic

args = options(__doc__, epochs=10, full_epochs=5)
ten = digits(args.full)
two = [(x[(y == 3) | (y == 8)], y[(y == 3) | (y == 8)][:, None] == 8) for x, y in ten]  # targets N × 1: 1 for an 8

experiments = {
    "3 or 8, plain": (two, 1, [Sigmoid()], BCELoss(), BinaryAccuracy()),
    "3 or 8, fused": (two, 1, [], BCELoss(from_logits=True), BinaryAccuracy(threshold=0)),
    "digits, plain": (ten, 10, [Softmax()], CrossEntropyLoss(from_logits=False), Accuracy()),
    "digits, fused": (ten, 10, [], CrossEntropyLoss(), Accuracy()),
}
print("                J in first and last epoch   test accuracy")
weights = []
for name, ((train, test), outputs, layers, loss, metric) in experiments.items():
    linear = Linear(784, outputs, rng=args.seed)
    model = Sequential(Flatten(), linear, *layers, input_shape=(1, 28, 28))
    trainer = Trainer(model, loss, SGD(0.02, momentum=0.9), [metric])
    J = trainer.fit(train, epochs=args.epochs, seed=args.seed, verbose=0)["loss"]
    print(f"{name:<15} {J[0]:>13.4f} {J[-1]:>11.4f} {trainer.evaluate(test)['accuracy']:>15.1%}")
    weights.append(linear.weight.data)
for name, a, b in (("3 or 8", *weights[:2]), ("digits", *weights[2:])):
    print(f"{name}: plain and fused end at weights that differ by at most {np.abs(a - b).max():.0e}")

extreme, one = np.array([[-1000.0]]), np.array([[1.0]])
J = BCELoss().forward(Sigmoid().forward(extreme), one), BCELoss(from_logits=True).forward(extreme, one)
print(f"J at the score -1000 where ŷ = 1: plain {J[0]:.1f}, fused {J[1]:.1f}")

# One digit that the last model is in two minds about: back through loss and softmax, and through both at once.
y, softmax, plain = model.predict(test[0]).astype(np.float64), Softmax(), CrossEntropyLoss(from_logits=False)
unsure = np.abs(softmax(y)[np.arange(len(y)), test[1]] - 0.5).argmin()
image, label = test[0][unsure], test[1][unsure]
p = softmax.forward(y[[unsure]], training=True)
plain.forward(p, [label])
loss.forward(y[[unsure]], [label])
rows = {"p": p, "p - ŷ": p - np.eye(10)[label], "plain": softmax.backward(plain.backward()), "fused": loss.backward()}
print(f"a {label}   ", *(f"{i:6}" for i in range(10)))
for name, row in rows.items():
    print(f"{name:<6}", *(f"{value:6.3f}" for value in row[0]))

figure, ax = canvas(None, (9, 6))
top, bottom = panels(ax, 2)
left, right = panels(top, 1, 2, widths=[1, 3])
show_mosaic(left, image)
left.set_title(f"A {label}")
for i, (name, hatch) in enumerate({"p": "", "p - ŷ": "//"}.items()):
    right.bar(np.arange(10) + 0.4 * i - 0.2, rows[name][0], 0.4, label=name, hatch=hatch, edgecolor="white")
right.axhline(0, color="black", linewidth=0.8)
right.set(xticks=range(10), xlabel="class", title="Probabilities, and the gradient by the scores: ∂J/∂y = p - ŷ")
right.legend(frameon=False)
show_mosaic(bottom, linear.weight.data.reshape(10, 28, 28), columns=5, signed=True)
bottom.set_title("The weights of the scores 0 to 4 and 5 to 9; red adds to the score, blue takes from it")
finish(figure, args.save)
