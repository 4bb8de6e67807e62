"""Why there is a non-linearity between linear layers: without it they collapse to a single one (L12).

    python examples/lecture/mlp_collapse.py           a few seconds; --full: 20 times as many samples

W2 (W1 x + b1) + b2 = (W2 W1) x + (W2 b1 + b2): one linear layer with other numbers. Its two classes lie on two sides
of one line, however long it is trained; those of "exclusive or" do not.
"""

import numpy as np
from common import options

from cnnlib import SGD, CosineLR, CrossEntropyLoss, Linear, ReLU, Sequential, Trainer, plots
from cnnlib.plots.canvas import canvas, finish, panels

args = options(__doc__, epochs=20)
rng = np.random.default_rng(args.seed)
x = rng.normal(size=(20_000 if args.full else 1_000, 2)).astype(np.float32)
y = (x[:, 0] * x[:, 1] > 0).astype(np.int64)  # exclusive or: the coordinates' signs are alike

stack = Sequential(Linear(2, 64, rng=rng), Linear(64, 2, rng=rng), input_shape=2)
bent = Sequential(Linear(2, 64, rng=rng), ReLU(), Linear(64, 2, rng=rng), input_shape=2)
for model in (stack, bent):
    trainer = Trainer(model, CrossEntropyLoss(), SGD(CosineLR(0.1, args.epochs), momentum=0.9))
    trainer.fit((x, y), epochs=args.epochs, seed=args.seed, verbose=0)

(w1, b1), (w2, b2) = ([p.data for p in layer.parameters().values()] for layer in stack)
one = Sequential(Linear(2, 2), input_shape=2)
one.load_state_dict({"0.weight": w2 @ w1, "0.bias": w2 @ b1 + b2})

models = {"Linear, Linear": stack, "its collapse: one Linear": one, "Linear, ReLU, Linear": bent}
figure, ax = canvas(None, (12, 4.5))
figure.suptitle("Exclusive or, and what each net takes the plane for; samples on the wrong side are ringed")
print("exclusive or               parameters  accuracy")
for (name, model), panel in zip(models.items(), panels(ax, 1, 3), strict=True):
    numbers = sum(p.data.size for p in model.parameters().values())
    accuracy = np.mean(model.predict(x).argmax(axis=1) == y)
    print(f"{name:<25} {numbers:>11} {accuracy:>9.1%}")
    plots.decision_regions(model, x[:400], y[:400], ax=panel)
    panel.set_title(f"{name}: {accuracy:.1%}")
difference = np.abs(stack.predict(x) - one.predict(x)).max()
print(f"outputs of the stack and of its collapse differ by at most {difference:.1e}")
finish(figure, args.save)
