"""Weights across: a net of PyTorch predicts in cnnlib, trains on here, and goes back, the same numbers each time.

    python examples/pytorch_weights.py

Needs PyTorch: pip install torch.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

import cnnlib


def layers(nn: Any) -> list[Any]:
    """The same names and arguments make the net in both libraries."""
    convolutions = [nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2)]
    return [*convolutions, nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(784, 10)]


def main() -> None:
    """There and back."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=3)
    epochs = parser.parse_args().epochs
    try:
        import torch
        from safetensors.torch import load_file, save_file
    except ImportError:
        raise SystemExit("this example needs PyTorch: pip install torch") from None

    train, (x_test, y_test) = cnnlib.datasets.mnist_sample()
    pixels = torch.from_numpy(x_test).float() / 255  # cnnlib takes uint8 as it is

    torch.manual_seed(0)
    theirs = torch.nn.Sequential(*layers(torch.nn)).eval()
    save_file(theirs.state_dict(), "from_pytorch.safetensors")
    ours = cnnlib.Sequential(*layers(cnnlib), input_shape=(1, 28, 28))
    print("PyTorch → cnnlib:", ours.load_weights("from_pytorch.safetensors"))
    with torch.no_grad():
        print(f"largest difference: {np.abs(ours.predict(x_test) - theirs(pixels).numpy()).max():.1e}")

    trainer = cnnlib.Trainer(ours, cnnlib.CrossEntropyLoss(), cnnlib.SGD(0.05, momentum=0.9))
    trainer.fit(train, epochs=epochs, batch_size=32, verbose=0)
    ours.save("from_cnnlib.safetensors")
    print("cnnlib → PyTorch:", theirs.load_state_dict(load_file("from_cnnlib.safetensors")))
    with torch.no_grad():
        logits = theirs(pixels).numpy()
    print(f"largest difference: {np.abs(ours.predict(x_test) - logits).max():.1e}")
    print(f"test accuracy: {100 * np.mean(logits.argmax(axis=1) == y_test):.2f}%")


if __name__ == "__main__":
    main()
