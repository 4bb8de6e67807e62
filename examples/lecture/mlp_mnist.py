"""A multi-layer perceptron reads digits of 32 × 32 = 1024 pixels (L13): three fully connected layers, ReLU in between.

    python examples/lecture/mlp_mnist.py           4,000 bundled digits, some seconds
    python examples/lecture/mlp_mnist.py --full    all of MNIST: with its 10 epochs at least 98 % of the test images

MNIST's images are 28 × 28; two rows of zeros on every side make them the lecture's 32 × 32. A tenth of the training
images is held back: the learning rate was chosen on it, and the dashed curves are its. The test images are looked at
once, at the end.
"""

from common import digits, options

from cnnlib import SGD, CosineLR, CrossEntropyLoss, Trainer, models
from cnnlib.plots import training_curves

args = options(__doc__, epochs=10)
train, test = digits(args.full, pad=2)
print(f"images: {train[0].shape} to train on, {test[0].shape} to test on")

model = models.mlp([1024, 512, 256, 10], input_shape=(1, 32, 32), init="he_normal", rng=args.seed)
print(model.summary())

optimizer = SGD(CosineLR(0.1, args.epochs), momentum=0.9, weight_decay=5e-4)
trainer = Trainer(model, CrossEntropyLoss(), optimizer)
history = trainer.fit(train, validation=0.1, epochs=args.epochs, batch_size=64, seed=args.seed, verbose=0)
print(history)
print(f"test accuracy: {trainer.evaluate(test)['accuracy']:.2%} of {len(test[1]):,} digits")
training_curves(history, save=args.save)
