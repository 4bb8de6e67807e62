"""LeNet-5 learns to read digits: data, model, loss, optimizer, training, test, and a file that keeps the result.

Run it:
    python examples/train_lenet5.py           5,000 bundled MNIST digits, about ten seconds
    python examples/train_lenet5.py --full    all 70,000 of MNIST (12 MB, downloaded once), about a minute
"""

import argparse

import numpy as np

import cnnlib
from cnnlib import SGD, Conv2d, CosineLR, CrossEntropyLoss, Flatten, Linear, MaxPool2d, ReLU, Sequential, Trainer

options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
options.add_argument("--full", action="store_true", help="train on the full MNIST")
options.add_argument("--epochs", type=int, help="passes over the training images (default: 10, with --full 3)")
options.add_argument("--out", default="lenet5.safetensors", help="where to save the model (default: %(default)s)")
args = options.parse_args()
epochs = args.epochs or (3 if args.full else 10)

# Images are N × 1 × 28 × 28, one byte a pixel; labels are N digits. The test images are never trained on.
train, test = cnnlib.datasets.mnist() if args.full else cnnlib.datasets.mnist_sample()

rng = np.random.default_rng(0)
model = Sequential(  # output of each layer for one image:
    Conv2d(1, 20, kernel_size=5, padding=2, rng=rng),  # 20 × 28 × 28
    ReLU(),
    MaxPool2d(2),  # 20 × 14 × 14
    Conv2d(20, 50, kernel_size=5, padding=2, rng=rng),  # 50 × 14 × 14
    ReLU(),
    MaxPool2d(2),  # 50 × 7 × 7
    Flatten(),  # 2450
    Linear(2450, 500, rng=rng),  # 500
    ReLU(),
    Linear(500, 10, rng=rng),  # 10 scores, one a digit
    input_shape=(1, 28, 28),
)
print(model.summary())

# Softmax and cross-entropy are one step, on the scores. The learning rate falls to 0 along half a cosine.
loss = CrossEntropyLoss()
optimizer = SGD(lr=CosineLR(0.1, epochs), momentum=0.9, weight_decay=5e-4)

trainer = Trainer(model, loss, optimizer)
trainer.fit(train, epochs=epochs, batch_size=64, seed=0)

accuracy = trainer.evaluate(test)["accuracy"]
print(f"test accuracy: {accuracy:.2%} of {len(test[1]):,} digits")

model.save(args.out)
again = cnnlib.load(args.out)
images, digits = test[0][:10], test[1][:10]
print(f"saved to {args.out}; read back, it sees {again.predict(images).argmax(axis=1)} where there is {digits}")
