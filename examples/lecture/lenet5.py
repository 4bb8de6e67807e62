"""LeNet-5, one of the classic architecture [Conv, ReLU, Pool] × N, Flatten, [FC, ReLU] × N, FC (L41, L42).

python examples/lecture/lenet5.py            3 epochs on the bundled digits, ten seconds
python examples/lecture/lenet5.py --full     3 epochs on all of MNIST, a minute or two
"""

from common import digits, options

from cnnlib import SGD, CosineLR, CrossEntropyLoss, Trainer, models, plots
from cnnlib.plots.canvas import canvas, finish, panels

args = options(__doc__, epochs=3)
train, (x, y) = digits(args.full)

# L41: two stages of 20 and 50 filters of 5 × 5, then one hidden layer of 500. L42: that is LeNet-5, by its name.
model = models.classic((1, 28, 28), channels=(20, 50), hidden=(500,), kernel_size=5, rng=args.seed)
print(model.summary())
print("the same as models.lenet5():", model.summary() == models.lenet5().summary())

# Height and width shrink, the number of channels grows.
for name in ("input", "2", "5"):
    shape = model.node(name).shape
    print(f"{name}: {' × '.join(map(str, shape))}, {model.features(x[:1], at=name).size:,} numbers")

trainer = Trainer(model, CrossEntropyLoss(), SGD(CosineLR(0.1, args.epochs), momentum=0.9, weight_decay=5e-4))
history = trainer.fit(train, validation=(x, y), epochs=args.epochs, seed=args.seed)
scores = model.predict(x)
wrong = (scores.argmax(axis=1) != y).sum()
print(f"test accuracy: {1 - wrong / len(y):.2%}, {wrong} of {len(y):,} digits wrong")

figure, page = canvas(None, (11, 6.2))
left, right = panels(page, 1, 2)
plots.training_curves(history, ["accuracy"], ax=left)
plots.misclassified(x, scores, y, ax=right)
finish(figure, args.save)
