"""``cnnlib train MODEL``: data, training, test accuracy, and a file with the trained model."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import tempfile
import time
from collections.abc import Callable
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING

from cnnlib import augment, serialize
from cnnlib.callbacks import Checkpoint
from cnnlib.cli.data import FOLDER, SETS, Data, add_data, load_data
from cnnlib.cli.folder import Shape
from cnnlib.cli.options import add_distributed, add_threads, number, processes, use_threads
from cnnlib.config import describe
from cnnlib.distributed import Distributed
from cnnlib.errors import ConfigError, DataNotFoundError, ShapeError
from cnnlib.graph import shape_text
from cnnlib.losses import CrossEntropyLoss
from cnnlib.models import MODELS
from cnnlib.optim import SGD
from cnnlib.schedules import CosineLR, Schedule, StepLR
from cnnlib.trainer import Trainer

if TYPE_CHECKING:
    from cnnlib.cli.options import Commands
    from cnnlib.distributed.processes import World
    from cnnlib.model import Model

__all__ = ["DEFAULTS", "add", "default_out"]

# Epochs and learning rate. Those of digits and clothes were chosen on images held back from the training set
# (--validation), not on test images; the others are usual ones, and nothing was measured to choose them.
DEFAULTS = {
    "sample": (10, 0.1),
    "mnist": (3, 0.1),
    "fashion-mnist": (8, 0.05),
    "cifar10": (20, 0.05),
    "cifar100": (20, 0.05),
    FOLDER: (20, 0.05),
}
DIGIT: Shape = (1, 28, 28)  # the only image that a model without input_shape takes

_EXAMPLES = """\
examples:
  cnnlib train lenet5
  cnnlib train lenet5 --data mnist --epochs 5 --out digits.safetensors
  cnnlib train mlp --data sample --lr 0.05 --schedule step --validation 0.2
  cnnlib train vgg_mini --data cifar10 --augment
  cnnlib train resnet_mini --data pets --size 64 --augment        pets/cat/1.jpg, pets/dog/7.png, …
  cnnlib train lenet5 --checkpoint runs/lenet5 --every 200        then, whatever ended it, once more with --resume

lenet5 is for images of 28×28 grey pixels; the other models take the data's size and colours. Pictures in folders need
Pillow: pip install 'cnnlib[image]'."""


def default_out(model: str) -> str:
    """Return where a model is saved, and looked for, if nothing is said."""
    return f"{model}.safetensors"


def add(commands: Commands) -> None:
    """Add the parser of ``train``."""
    epochs, rates = (
        ", ".join(f"{values[which]:g} for {name}" for name, values in DEFAULTS.items()) for which in (0, 1)
    )
    parser = commands.add_parser(
        "train",
        help="train a model and save it",
        description="Train a model on images by SGD, test it, and save it.",
        epilog=_EXAMPLES,
    )
    parser.add_argument("model", choices=list(MODELS), metavar="MODEL", help=", ".join(MODELS))
    add_data(parser, "the full MNIST where it is on this machine already, else the sample")
    parser.add_argument(
        "--size", type=number(int, 1), metavar="N", help="of a folder: resize pictures to N×N pixels (default: 32)"
    )
    parser.add_argument("--grey", action="store_true", help="of a folder: make pictures grey")
    parser.add_argument(
        "--augment",
        action="store_true",
        help="mirror training images at random, left and right, and shift them by up to an eighth; "
        "for CIFAR and folders",
    )
    parser.add_argument("--epochs", type=number(int, 1), metavar="N", help=f"passes over the data (default: {epochs})")
    parser.add_argument(
        "--batch-size", type=number(int, 1), default=64, metavar="N", help="images a step (default: 64)"
    )
    parser.add_argument("--lr", type=number(float, 0), metavar="RATE", help=f"learning rate (default: {rates})")
    parser.add_argument(
        "--momentum", type=number(float, 0, 1, below=True), default=0.9, metavar="M", help="default: 0.9"
    )
    parser.add_argument("--weight-decay", type=number(float, 0), default=5e-4, metavar="W", help="default: 0.0005")
    parser.add_argument(
        "--schedule",
        choices=["cosine", "step", "constant"],
        default="cosine",
        help="learning rate over time: along half a cosine to 0 (default), a tenth after each third, or constant",
    )
    parser.add_argument(
        "--validation",
        type=number(float, 0, 1, below=True),
        default=0.0,
        metavar="SHARE",
        help="share of the training images to hold back and measure after each epoch (default: 0)",
    )
    parser.add_argument(
        "--seed", type=number(int, 0), default=0, help="of weights and order; same seed, same bits (default: 0)"
    )
    parser.add_argument(
        "--checkpoint", metavar="DIR", help="keep the training there, after each epoch and when it is interrupted"
    )
    parser.add_argument("--every", type=number(int, 1), metavar="N", help="keep it after every N batches, too")
    parser.add_argument("--keep", type=number(int, 1), metavar="K", help="so many checkpoints stay (default: 3)")
    parser.add_argument("--resume", action="store_true", help="go on from the newest checkpoint, to the same bits")
    add_threads(parser)
    add_distributed(parser, "each batch")
    parser.add_argument(
        "--chunk",
        type=number(int, 1),
        default=Distributed.chunk,
        metavar="N",
        help="with --distributed: images that a process computes at once, at most (default: %(default)s)",
    )
    parser.add_argument("--out", metavar="FILE", help="where to save the model (default: MODEL.safetensors)")
    parser.add_argument("--quiet", action="store_true", help="print only the result")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Train, test, save, and say so."""
    with processes(options) as world:
        return _run(options, world)


def _run(options: argparse.Namespace, world: World | None) -> int:
    start = time.perf_counter()
    use_threads(options)
    out = Path(options.out or default_out(options.model))
    main = world is None or world.main
    if main:
        _check_writable(out)
    checkpoints = _checkpoints(options, world)
    shape = _shape(options)
    changes = _changes(options, shape)
    _check_takes(options.model, shape)
    data = _in_turn(world, lambda: load_data(options.data, shape))
    if not len(data.train):
        raise DataNotFoundError(f"{options.data}: there is no folder train in it, beside that of the test")
    epochs, lr = DEFAULTS[data.name]
    epochs, lr = options.epochs or epochs, lr if options.lr is None else options.lr
    model = _made(options.model, shape, len(data.classes), options.seed)
    optimizer = SGD(_schedule(options.schedule, lr, epochs), options.momentum, options.weight_decay)
    settings = (
        f"{epochs} epochs, batches of {options.batch_size}, SGD with learning rate {lr:g} ({options.schedule}), "
        f"momentum {options.momentum:g}, weight decay {options.weight_decay:g}, seed {options.seed}"
        f"{', mirrored and shifted at random' if changes else ''}"
    )
    if not options.quiet:
        _introduce(options.model, model, data, settings)
    # All pictures are read once; of several processes each reads its own, when their turn comes.
    dealt = world is not None and world.size > 1 and not options.validation
    train, test = (data.train, data.test) if dealt else (data.train[:], data.test[:])
    distributed = Distributed(options.chunk) if options.distributed else False
    trainer = Trainer(model, CrossEntropyLoss(), optimizer, callbacks=checkpoints, distributed=distributed)
    history = trainer.fit(
        train,
        validation=options.validation or None,
        epochs=epochs,
        batch_size=options.batch_size,
        seed=options.seed,
        augment=changes,
        verbose=0 if options.quiet else 1,
    )
    interrupted = history.epochs < epochs
    if interrupted and checkpoints:
        return 130
    if not history.epochs:
        print(f"interrupted in the first epoch; nothing was saved, {out} is as it was")
        return 130
    seconds = sum(history["seconds"])
    images = sum(r * s for r, s in zip(history["images_per_second"], history["seconds"], strict=True))
    result = trainer.evaluate(test)
    wrong = round((1 - result["accuracy"]) * len(data.test))
    training = f"{settings}{f'; interrupted after {history.epochs}' if interrupted else ''}"
    notes = {"trained_on": data.name, "training": training}
    if data.name == FOLDER:
        notes["classes"] = json.dumps(data.classes)
    if not main:
        return 130 if interrupted else 0
    serialize.save(model, out, notes)
    if not options.quiet:
        print()
    _say("test", f"{result['accuracy']:.2%} of {len(data.test):,} test images right, {wrong} wrong")
    _say("speed", f"{images / seconds:,.0f} images/s in training; {time.perf_counter() - start:.1f} s for everything")
    _say("saved", f"{out}, {out.stat().st_size / 1e6:.1f} MB")
    if not options.quiet:
        chosen = "" if out == Path(default_out("lenet5")) else f" --model {shlex.quote(str(out))}"
        data_option = f" --data {shlex.quote(options.data)}" if data.name == FOLDER else ""
        _say("next", f"cnnlib evaluate {shlex.quote(str(out))}{data_option}")
        _say("", f"cnnlib predict IMAGE.png{chosen}")
    if interrupted:
        print(f"interrupted after {history.epochs} of {epochs} epochs; the saved model is what was learned until then")
        return 130
    return 0


def _say(what: str, text: str) -> None:
    print(f"{what:<8}  {text}", flush=True)


def _introduce(name: str, model: Model, data: Data, settings: str) -> None:
    machine = describe()
    _say("machine", machine["machine"])
    _say("kernels", machine["in use"])
    _say("threads", machine["threads"])
    _say("data", f"{data.title}: {len(data.train):,} images to train, {len(data.test):,} to test")
    _say("", data.where)
    size = sum(parameter.data.size for parameter in model.parameters().values())
    layers = " → ".join(type(layer).__name__ for layer in model.layers.values())
    _say("model", f"{name}, {size:,} parameters: {layers}")
    _say("training", settings)
    print(flush=True)


def _shape(options: argparse.Namespace) -> Shape:
    """Return the shape of the images, which is known before they are read, or fetched."""
    known = "sample" if options.data == "auto" else options.data
    if known not in SETS:
        size = options.size or 32
        return 1 if options.grey else 3, size, size
    for name in ("size", "grey"):
        if getattr(options, name):
            raise ConfigError(f"--{name} is for folders of pictures; {SETS[known].title} has images of one kind")
    return SETS[known].shape


def _check_takes(model: str, shape: Shape) -> None:
    """Raise ShapeError if the model does not take such images."""
    flexible = [name for name, build in MODELS.items() if "input_shape" in signature(build).parameters]
    if model not in flexible and shape != DIGIT:
        raise ShapeError(
            f"{model} takes images of {shape_text(DIGIT)}, these have {shape_text(shape)}: train "
            f"{', '.join(flexible[:-1])} or {flexible[-1]}, which take images of any size and colours; pictures in a "
            "folder become digits' size by --grey --size 28"
        )


def _made(name: str, shape: Shape, num_classes: int, seed: int) -> Model:
    """Return a model by name for images of a shape; raise ShapeError or ConfigError for those of a wrong ``--size``."""
    takes_shape = {} if shape == DIGIT else {"input_shape": shape}
    try:
        return MODELS[name](num_classes=num_classes, rng=seed, **takes_shape)
    except ShapeError:
        raise ShapeError(f"{name} needs larger images than {shape_text(shape)}: raise --size") from None
    except MemoryError:
        raise ConfigError(f"{name} for images of {shape_text(shape)} is too large for memory: lower --size") from None


def _changes(options: argparse.Namespace, shape: Shape) -> augment.Transform | None:
    if not options.augment:
        return None
    if shape[0] == 1 and options.data in ("auto", *SETS):
        raise ConfigError(
            "--augment mirrors images, which makes other characters of digits: it is for CIFAR and folders of pictures"
        )
    height, width = shape[1:]
    crop = augment.RandomCrop((height, width), padding=(height // 8, width // 8))
    return augment.Compose([augment.RandomHorizontalFlip(), crop])


def _schedule(name: str, lr: float, epochs: int) -> float | Schedule:
    if name == "cosine":
        return CosineLR(lr, epochs)
    return StepLR(lr, epochs / 3) if name == "step" else lr


def _in_turn(world: World | None, load: Callable[[], Data]) -> Data:
    """Load data; of several processes the first one goes ahead, since it may have to download them."""
    return load() if world is None else world.in_turn(load, "the data", timeout=3600)


def _checkpoints(options: argparse.Namespace, world: World | None) -> list[Checkpoint]:
    if options.checkpoint is None:
        for name in ("every", "keep", "resume"):
            if getattr(options, name):
                raise ConfigError(f"--{name} needs --checkpoint DIR, the folder of the checkpoints")
        return []
    start = [] if world is None or world.size == 1 else ["mpiexec", "-n", str(world.size)]
    command = shlex.join([*start, "cnnlib", *options.arguments, *([] if options.resume else ["--resume"])])
    keep = options.keep or 3
    return [Checkpoint(options.checkpoint, options.every, keep, resume=options.resume, command=command)]


def _check_writable(out: Path) -> None:
    """Raise, before training rather than after it, if `out` cannot be written."""
    if out.is_dir():
        raise ConfigError(f"--out {out}: a folder, expected the name of a file in it")
    if not out.parent.is_dir():
        raise ConfigError(f"--out {out}: there is no folder {out.parent}; create it first")
    try:
        with tempfile.TemporaryFile(dir=out.parent):
            pass
    except OSError as error:
        reason = error.strerror or error
        raise ConfigError(f"--out {out}: cannot write to {os.path.abspath(out.parent)}: {reason}") from None
