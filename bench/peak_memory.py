"""The most memory that training LeNet-5 on the whole of MNIST takes, by cnnlib and by PyTorch, each in a fresh process.

    python bench/peak_memory.py [--epochs 1] [--threads 2]
    python bench/peak_memory.py --images 6400   # the whole set is read, but not trained on: soon done, the same peak

Both hold the images as uint8 and convert batch by batch (64 images; SGD with momentum), then evaluate on the test set.
What counts is the process's peak resident memory (ru_maxrss), from its start to its end: interpreter, libraries, data.
"""

from __future__ import annotations

import argparse
import gzip
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

CONTESTANTS = ("cnnlib", "torch, contiguous", "torch, channels_last")
BATCH, LEARNING_RATE, MOMENTUM = 64, 0.05, 0.9


def train_cnnlib(epochs: int, images: int, threads: int) -> float:
    """Train and return the accuracy on the test set."""
    import cnnlib

    cnnlib.set_num_threads(threads)
    (x, y), test = cnnlib.datasets.mnist()
    model = cnnlib.models.lenet5(rng=0)
    trainer = cnnlib.Trainer(model, cnnlib.CrossEntropyLoss(), cnnlib.SGD(LEARNING_RATE, momentum=MOMENTUM))
    trainer.fit((x[:images], y[:images]), epochs=epochs, batch_size=BATCH, verbose=0)
    return trainer.evaluate(test)["accuracy"]


def train_torch(epochs: int, images: int, threads: int, layout: str, folder: Path) -> float:
    """Train the same net and return the accuracy on the test set."""
    import torch
    from torch import nn

    def read(name: str, header: int) -> Any:
        path = folder / f"{name}-ubyte.gz"
        with gzip.open(path) if path.exists() else path.with_suffix("").open("rb") as file:
            return torch.frombuffer(bytearray(file.read()), dtype=torch.uint8, offset=header)

    def pixels(batch: Any) -> Any:
        return batch.float().div_(255).contiguous(memory_format=memory_format)

    memory_format = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}[layout]
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    x, x_test = (read(f"{part}-images-idx3", 16).reshape(-1, 1, 28, 28) for part in ("train", "t10k"))
    y, y_test = (read(f"{part}-labels-idx1", 8) for part in ("train", "t10k"))
    blocks = [nn.Conv2d(1, 20, 5, padding=2), nn.ReLU(inplace=True), nn.MaxPool2d(2)]
    blocks += [nn.Conv2d(20, 50, 5, padding=2), nn.ReLU(inplace=True), nn.MaxPool2d(2)]
    model: Any = nn.Sequential(*blocks, nn.Flatten(), nn.Linear(2450, 500), nn.ReLU(inplace=True), nn.Linear(500, 10))
    model = model.to(memory_format=memory_format)
    loss = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), LEARNING_RATE, momentum=MOMENTUM, fused=True)
    for _ in range(epochs):
        for chosen in torch.randperm(min(images, len(x))).split(BATCH):
            optimizer.zero_grad()
            loss(model(pixels(x[chosen])), y[chosen].long()).backward()
            optimizer.step()
    with torch.inference_mode():
        right = sum(
            (model(pixels(part)).argmax(1) == labels).sum().item()
            for part, labels in zip(x_test.split(256), y_test.split(256), strict=True)
        )
    return float(right / len(x_test))


def peak() -> float:
    """Return this process's peak resident memory in MB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def child(contestant: str, epochs: int, images: int, threads: int, folder: Path) -> None:
    """Train as `contestant` and print accuracy and peak memory."""
    if contestant == "cnnlib":
        accuracy = train_cnnlib(epochs, images, threads)
    else:
        accuracy = train_torch(epochs, images, threads, contestant.split(", ")[1], folder)
    print(accuracy, peak())


def main() -> None:
    """Run each contestant in a process of its own and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--images", type=int, default=60000, help="how many of the training set are trained on")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--contestant", choices=CONTESTANTS, help="train as one of them, in this process")
    parser.add_argument("--folder", type=Path, help="where MNIST is (for --contestant)")
    arguments = parser.parse_args()
    if arguments.contestant:
        child(arguments.contestant, arguments.epochs, arguments.images, arguments.threads, arguments.folder)
        return
    from cnnlib import datasets

    folder = datasets.find("mnist")
    if folder is None:
        sys.exit("MNIST is not on disk: `cnnlib train lenet5 --data mnist` downloads it, or set CNNLIB_DATA")
    print(f"LeNet-5 on MNIST, batch {BATCH}, {arguments.epochs} epochs, {arguments.threads} threads")
    peaks = {}
    for contestant in CONTESTANTS:
        options = ["--contestant", contestant, "--folder", str(folder)]
        for name in ("epochs", "images", "threads"):
            options += [f"--{name}", str(getattr(arguments, name))]
        result = subprocess.run([sys.executable, __file__, *options], stdout=subprocess.PIPE, text=True)
        if result.returncode:
            sys.exit(f"{contestant} failed")
        accuracy, peaks[contestant] = map(float, result.stdout.split())
        print(f"{contestant:<22}  {peaks[contestant]:6.1f} MB at the peak, accuracy {accuracy:.4f}", flush=True)
    least = min(peaks[contestant] for contestant in CONTESTANTS[1:])
    print(f"cnnlib takes {peaks['cnnlib'] / least:.2f} of PyTorch's")


if __name__ == "__main__":
    main()
