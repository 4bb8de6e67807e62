"""What a net learns, layer by layer: general features below, those of its task above (L14, L43).

    python examples/lecture/what_filters_see.py            5 epochs on the bundled digits, ten seconds
    python examples/lecture/what_filters_see.py --full     2 epochs on MNIST, a minute

The net learns the digits 0 to 4 alone. How well lines tell digits apart by the features of a layer (their separability)
then shows what that layer knows: of the digits it learned, and of the digits 5 to 9 that it never saw.
"""

from common import digits, options

from cnnlib import SGD, CosineLR, CrossEntropyLoss, Trainer, models, plots
from cnnlib.plots.canvas import canvas, finish, panels

args = options(__doc__, epochs=5, full_epochs=2)
(x_train, y_train), (x_test, y_test) = digits(args.full)
learned = y_train < 5
model = models.classic(channels=(8, 16), hidden=(64,), num_classes=5, kernel_size=5, rng=args.seed)
trainer = Trainer(model, CrossEntropyLoss(), SGD(CosineLR(0.05, args.epochs), momentum=0.9))
trainer.fit((x_train[learned], y_train[learned]), epochs=args.epochs, batch_size=32, seed=args.seed, verbose=2)

x, y = x_test[:600], y_test[:600]
known = y < 5
layers = {"input": "pixels", "2": "stage 1", "5": "stage 2", "8": "hidden", "9": "scores"}  # by the name of its node
features = model.features(x, at=list(layers))
scores = {}
for label, part in {"digits 0 to 4, learned": known, "digits 5 to 9, never seen": ~known}.items():
    scores[label] = [plots.separability(values[part], y[part]) for values in features.values()]
    told = ", ".join(f"{name} {score:.1%}" for name, score in zip(layers.values(), scores[label], strict=True))
    print(f"separability of {label}: {told}")

# The last layer is a linear classifier on what the layers below have learned.
right = model[-1].forward(features["8"][known]).argmax(axis=1) == y[known]
print(f"the last layer alone, on the hidden features: {right.mean():.1%} of the digits 0 to 4 right")

figure, page = canvas(None, (12, 13))
top, middle, bottom = panels(page, 3, heights=(2, 3, 2.6))
weights, curves = panels(top, 1, 2)
plots.filters(model, columns=4, ax=weights)
for (label, values), style in zip(scores.items(), ("o-", "s--"), strict=True):
    curves.plot([f"{at}: {name}" for at, name in layers.items()], values, style, label=label)
curves.set(ylabel="separability", title="What the layers know of digits")
curves.grid(alpha=0.3)
curves.legend(frameon=False)
for conv, ax in zip(("0", "3"), panels(middle, 1, 2), strict=True):
    plots.top_patches(model, x[known], at=conv, ax=ax)
plots.projection(model, x[known][:300], y[known][:300], at=["input", "5", "8"], ax=bottom)
finish(figure, args.save)
