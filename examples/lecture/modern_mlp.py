"""A modern MLP, [Linear, BatchNorm, PReLU or LeakyReLU] × k on standardised inputs, against a plain one (L32).

    python examples/lecture/modern_mlp.py           4,000 bundled digits
    python examples/lecture/modern_mlp.py --full    all of MNIST

All have eight hidden layers of 100 neurons, weights drawn in the same way, and the same training. Mean and deviation of
every pixel are measured on the training images alone; they are part of the model and saved with it. The learning rate
was chosen on held-back training images, for the plain net.
"""

import numpy as np
from common import digits, options

from cnnlib import SGD, CosineLR, CrossEntropyLoss, PReLU, Trainer, models
from cnnlib.plots import compare

args = options(__doc__, epochs=8)
train, test = digits(args.full)
sizes, common = [784] + 8 * [100] + [10], {"input_shape": (1, 28, 28), "init": "he_normal", "rng": args.seed}
nets = {
    "plain: Linear, ReLU": models.mlp(sizes, **common),
    "modern, PReLU": models.modern_mlp(sizes, standardize=train[0], **common),
    "modern, LeakyReLU": models.modern_mlp(sizes, standardize=train[0], activation="leaky_relu", **common),
    "modern, PReLU, pixels as they are": models.modern_mlp(sizes, **common),
}
modern = nets["modern, PReLU"]
print(" → ".join(layer.describe() for layer in list(modern)[:5]), "→ …")
for name, (x, _) in {"training": train, "test": test}.items():
    pixels = modern.features(x, at=0)
    moments = f"mean {pixels.mean():+.3f}, deviation {pixels.std():.3f}"
    print(f"standardised {name} images: {moments}, |x| ≤ {np.abs(pixels).max():.0f}")

print(f"{'accuracy':33}  test, epoch 1  test, epoch {args.epochs}  training, epoch {args.epochs}")
errors: dict[str, list[float]] = {}
for name, model in nets.items():
    trainer = Trainer(model, CrossEntropyLoss(), SGD(CosineLR(0.05, args.epochs), momentum=0.9))
    history = trainer.fit(train, test, epochs=args.epochs, seed=args.seed, verbose=0)
    errors[name] = [100 * (1 - accuracy) for accuracy in history["val_accuracy"]]
    first, last = history["val_accuracy"][0], history["val_accuracy"][-1]
    print(f"{name:33}  {first:13.1%}  {last:13.2%}  {history['accuracy'][-1]:17.2%}")
slopes = [layer.weight.data.mean() for layer in modern if isinstance(layer, PReLU)]
print("slopes that PReLU learned, from 0.25, mean of each layer:", " ".join(f"{slope:.2f}" for slope in slopes))
compare(errors, ylabel="test error (%)", title="eight hidden layers", save=args.save)
