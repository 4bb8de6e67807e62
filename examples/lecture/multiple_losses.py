"""Several losses at different layers of one net: their gradients meet where the branches meet (L33).

    python examples/lecture/multiple_losses.py           4,000 bundled digits
    python examples/lecture/multiple_losses.py --full    all of MNIST

    image ── hidden1 ──┬── hidden2 ──┬── hidden3 ──┬── hidden4 ──┬── hidden5 ── main
                       └── aux1      └── aux2      └── aux3      └── aux4

A deep net of sigmoids hardly learns: each layer shrinks the gradient on its way down. A classifier with a loss of its
own on every hidden layer brings gradient where it is missing. J = J_main + 0.3 Σ J_aux; the answer is main's alone.
"""

import numpy as np
from common import digits, options

from cnnlib import SGD, CrossEntropyLoss, Flatten, Input, Linear, Model, Sigmoid, Trainer
from cnnlib.plots import compare
from cnnlib.plots.canvas import canvas, finish, panels

DEPTH = 5
args = options(__doc__, epochs=10)
train, test = digits(args.full)


def net() -> Model:
    """Return the net with all its outputs by name; the same weights each time."""
    rng = np.random.default_rng(args.seed)
    image = Input((1, 28, 28), "image")
    outputs, node, inputs = {}, Flatten()(image), 784
    for i in range(1, DEPTH + 1):
        node = Sigmoid()(Linear(inputs, 100, init="glorot_normal", rng=rng, name=f"hidden{i}")(node))
        name, inputs = (f"aux{i}" if i < DEPTH else "main"), 100
        outputs[name] = Linear(100, 10, init="glorot_normal", rng=rng, name=name)(node)
    return Model(image, outputs)


def gradients(weights: dict[str, float]) -> list[np.ndarray]:
    """Return ∂J/∂W of each hidden layer at the start, for J = Σ weight · loss over the first 256 images."""
    model, loss, dy = net(), CrossEntropyLoss(), {}
    for name, scores in model.forward(train[0][:256], training=True).items():
        loss.forward(scores, train[1][:256])
        dy[name] = np.float32(weights.get(name, 0)) * loss.backward()
    model.backward(dy, input_grad=False)
    return [model[f"hidden{i}"].parameters()["weight"].grad for i in range(1, DEPTH + 1)]


main, auxiliary = {"main": 1.0}, {f"aux{i}": 0.3 for i in range(1, DEPTH)}
losses = {"main loss alone": main | dict.fromkeys(auxiliary, 0.0), "with auxiliary losses": main | auxiliary}
at_start = {name: gradients(weights) for name, weights in losses.items()}
of_each = [gradients({name: weight}) for name, weight in (main | auxiliary).items()]
meeting = zip(at_start["with auxiliary losses"], *of_each, strict=True)
difference = max(np.abs(whole - sum(parts)).max() for whole, *parts in meeting)
print(f"gradients of J less the sum of those of its {DEPTH} losses: at most {difference:.0e}")

norms = {name: [float(np.linalg.norm(gradient)) for gradient in found] for name, found in at_start.items()}
accuracies: dict[str, list[float]] = {}
print(f"{'norm of ∂J/∂W at start':24}", *(f"{f'hidden{i}':>9}" for i in range(1, DEPTH + 1)), " main's test accuracy")
for name, weights in losses.items():
    trainer = Trainer(net(), dict.fromkeys(weights, CrossEntropyLoss()), SGD(0.1, momentum=0.9), loss_weights=weights)
    history = trainer.fit(train, test, epochs=args.epochs, seed=args.seed, verbose=0)
    accuracies[name] = history["val_main_accuracy"]
    print(f"{name:24}", *(f"{norm:9.5f}" for norm in norms[name]), f"{accuracies[name][-1]:21.1%}")

figure, ax = canvas(None, (10, 4))
left, right = panels(ax, 1, 2)
compare(norms, xlabel="hidden layer", ylabel="norm of the weights' gradient at the start", ax=left)
left.set_yscale("log")
compare(accuracies, ylabel="main's accuracy in the test", ax=right)
finish(figure, args.save)
