"""Why there is a non-linearity between linear layers: without it they collapse to a single one (L12).

    python examples/mlp_collapse.py           a second

W2 (W1 x + b1) + b2 = (W2 W1) x + (W2 b1 + b2): one linear layer with other numbers.
"""

import numpy as np

from cnnlib import SGD, CrossEntropyLoss, Linear, ReLU, Sequential, Trainer

rng = np.random.default_rng(0)
x = rng.normal(size=(1000, 2)).astype(np.float32)

deep = Sequential(Linear(2, 64, rng=rng), Linear(64, 2, rng=rng), input_shape=2)
(w1, b1), (w2, b2) = ([p.data for p in layer.parameters().values()] for layer in deep.layers.values())
one = Sequential(Linear(2, 2), input_shape=2)
one.load_state_dict({"0.weight": w2 @ w1, "0.bias": w2 @ b1 + b2})
numbers = [sum(p.data.size for p in model.parameters().values()) for model in (deep, one)]
print(f"{numbers[0]} numbers in two layers, {numbers[1]} in one")
print(f"largest difference of their outputs: {np.abs(deep.predict(x) - one.predict(x)).max():.1e}")

# What that costs: no line separates the two classes of "exclusive or", so no stack of linear layers does.
y = (x[:, 0] * x[:, 1] > 0).astype(np.int64)
bent = Sequential(Linear(2, 64, rng=rng), ReLU(), Linear(64, 2, rng=rng), input_shape=2)
for name, model in {"Linear, Linear": deep, "Linear, ReLU, Linear": bent}.items():
    trainer = Trainer(model, CrossEntropyLoss(), SGD(0.1, momentum=0.9))
    trainer.fit((x, y), epochs=20, seed=0, verbose=0)
    print(f"exclusive or, {name}: accuracy {trainer.evaluate((x, y))['accuracy']:.1%}")
