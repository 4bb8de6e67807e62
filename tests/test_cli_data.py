"""The commands on colour images: CIFAR's archives, small ones made here, and folders of pictures."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

import cnnlib
from cnnlib import Flatten, Linear, Sequential, serialize
from cnnlib.cli import data, folder, main
from cnnlib.datasets import cifar, download
from cnnlib.datasets.cifar import CIFAR10, CIFAR100, Archive
from cnnlib.errors import DataNotFoundError
from cnnlib.models import MODELS
from cnnlib.stepping import Stepper
from tests.test_cli import elsewhere, failure, usage
from tests.test_datasets_cifar import packed, rows

__all__ = ["elsewhere"]  # a fixture

BRIEF = ["--epochs", "1", "--batch-size", "8"]
HUES = {"blue": (30, 40, 200), "green": (20, 180, 60), "red": (210, 30, 30)}


def pictures(root: Path, count: int, size: tuple[int, int] = (32, 32), seed: int = 0) -> Path:
    """Write PNGs of three classes that differ in their hue, with some noise."""
    pillow, rng = pytest.importorskip("PIL.Image"), np.random.default_rng(seed)
    for name, hue in HUES.items():
        (root / name).mkdir(parents=True)
        for i in range(count):
            noise = rng.integers(-20, 20, (*size, 3))
            pillow.fromarray((hue + noise).clip(0, 255).astype(np.uint8)).save(root / name / f"{i}.png")
    return root


@pytest.fixture
def small_cifar(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """CIFAR-10 of 20 + 3 and CIFAR-100 of 4 + 3 images on this machine."""
    for variable, archive in (("CIFAR10", CIFAR10), ("CIFAR100", CIFAR100)):
        tables = {name: rows(4, archive).tobytes() for name in archive.train}
        tables |= {name: rows(3, archive).tobytes() for name in archive.test}
        path = elsewhere / "data" / archive.name / archive.file
        monkeypatch.setattr(cifar, variable, packed(path, archive, tables))
    return elsewhere


# CIFAR


@pytest.mark.parametrize("archive", [CIFAR10, CIFAR100], ids=lambda archive: archive.name)
def test_cifar_from_training_to_prediction(small_cifar: Path, capsys, archive: Archive) -> None:
    assert main(["train", "vgg_mini", "--data", archive.name, *BRIEF, "--augment", "--out", "m"]) == 0
    output = capsys.readouterr().out
    assert f"{archive.title}: {4 * len(archive.train)} images to train, 3 to test" in output
    assert "mirrored and shifted at random" in output
    model = cnnlib.load("m")
    assert model.graph.nodes[0].shape == (3, 32, 32)
    assert model.graph.nodes[-1].shape == (archive.classes,)
    assert main(["evaluate", "m"]) == 0
    evaluated = capsys.readouterr().out
    assert f"trained on {archive.title}" in evaluated
    assert f"{archive.title}: 3 test images" in evaluated
    assert re.findall(r"\d+ wrong", output) == re.findall(r"\d+ wrong", evaluated)
    pytest.importorskip("PIL.Image").fromarray(np.zeros((40, 50, 3), np.uint8)).save("i.png")
    assert main(["predict", "i.png", "--model", "m"]) == 0
    header, row = capsys.readouterr().out.splitlines()
    assert ("airplane" in header) == (archive is CIFAR10)
    assert row.split()[1] in data.SETS[archive.name].classes
    if archive is CIFAR100:
        assert "the 5 likeliest" in header
        assert row.count(",") == 4


def test_classes_are_as_many_as_labels() -> None:
    for archive in (CIFAR10, CIFAR100):
        names = data.SETS[archive.name].classes
        assert len(names) == archive.classes
        assert list(names) == sorted(set(names))  # as both sets number them


@pytest.mark.parametrize("name", [name for name in MODELS if name != "lenet5"])
def test_all_models_but_one_take_colours(small_cifar: Path, name: str) -> None:
    assert main(["train", name, "--data", "cifar100", *BRIEF, "--lr", "0.001", "--quiet"]) == 0
    nodes = cnnlib.load(f"{name}.safetensors").graph.nodes
    assert (nodes[0].shape, nodes[-1].shape) == ((3, 32, 32), (100,))


def test_what_does_not_fit_is_said_before_data_are_fetched(elsewhere: Path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(download, "fetch", lambda *_, **__: pytest.fail("fetched"))
    message = failure(capsys, "train", "lenet5", "--data", "cifar10")
    assert "lenet5 takes images of 1 × 28 × 28, these have 3 × 32 × 32: train mlp, " in message
    assert "vgg_mini" in message
    assert "lenet5" not in message.partition("train ")[2]
    assert "--size is for folders" in failure(capsys, "train", "vgg_mini", "--data", "cifar10", "--size", "8")
    assert "--grey is for folders" in failure(capsys, "train", "mlp", "--grey")
    assert "makes other characters of digits" in failure(capsys, "train", "mlp", "--augment")
    assert "neither a folder nor one of auto, sample, " in usage(capsys, "train", "mlp", "--data", "nowhere/pets")
    assert "cifar100; did you mean cifar10?" in usage(capsys, "train", "mlp", "--data", "CIFAR-10")
    serialize.save(Sequential(Flatten(), Linear(784, 10), input_shape=(1, 28, 28)), "m")
    message = failure(capsys, "evaluate", "m", "--data", "cifar10")
    assert "the model takes images of 1 × 28 × 28, those of CIFAR-10 have 3 × 32 × 32" in message
    assert "tells 10 classes apart, CIFAR-100 has 100" in failure(capsys, "evaluate", "m", "--data", "cifar100")


def test_without_a_network_it_says_where_to_put_the_archive(elsewhere: Path, capsys, monkeypatch) -> None:
    def fetch(*_, **__):
        raise DataNotFoundError("no network")

    monkeypatch.setattr(download, "fetch", fetch)
    message = failure(capsys, "train", "vgg_mini", "--data", "cifar10")
    assert "no network" in message
    assert f"Put {CIFAR10.file} into {elsewhere / 'data' / 'cifar10'}" in message
    model = Sequential(Flatten(), Linear(3072, 10), input_shape=(3, 32, 32))
    serialize.save(model, "m", {"trained_on": "cifar10"})
    assert "--data cifar10 downloads it" in failure(capsys, "evaluate", "m")


# Folders


def test_a_folder_from_training_to_prediction(elsewhere: Path, capsys) -> None:
    pets = pictures(elsewhere / "my pets", 20)
    training = ["--epochs", "4", "--batch-size", "8", "--lr", "0.01", "--validation", "0.25"]
    options = ["--data", "my pets", "--size", "16", *training]
    assert main(["train", "vgg_mini", *options, "--out", "m"]) == 0
    output = capsys.readouterr().out
    assert "the pictures in my pets: 48 images to train, 12 to test" in output
    assert "20% of each class are held back to test, the same for any --seed; colours, 16×16" in output
    assert "100.00% of 12 test images right" in output
    assert "cnnlib evaluate m --data 'my pets'" in output
    assert main(["evaluate", "m", "--data", "my pets"]) == 0
    evaluated = capsys.readouterr().out
    assert "trained on a folder of pictures" in evaluated
    assert "the 20% of each class that `cnnlib train` holds back; colours, 16×16" in evaluated
    assert "accuracy  100.00%, 0 wrong" in evaluated
    assert re.search(r"^green +4 +4 +100.0%$", evaluated, flags=re.M)
    images = [str(pets / "red" / "1.png"), str(pets / "blue" / "3.png")]
    assert main(["predict", *images, "--model", "m"]) == 0
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.split() == ["image", "answer", *HUES, "(percent)"]
    assert [line.removeprefix(image).split()[0] for line, image in zip(lines, images, strict=True)] == ["red", "blue"]
    # A folder stands for its pictures, whatever else is in it.
    (pets / "red" / "notes.txt").write_text("no picture")
    assert main(["predict", "my pets", "--model", "m"]) == 0
    listed = [line.rsplit(maxsplit=4)[0] for line in capsys.readouterr().out.splitlines()[1:]]
    assert listed == sorted(str(path.relative_to(elsewhere)) for path in pets.glob("*/*.png"))
    Path("nothing").mkdir()
    assert "nothing: no pictures in this folder, expected files .png" in failure(
        capsys, "predict", "nothing", "--model", "m"
    )
    assert main(["summary", "m"]) == 0
    assert "trained on a folder of pictures: 4 epochs" in capsys.readouterr().out
    assert "say which, --data FOLDER" in failure(capsys, "evaluate", "m")
    np.save("array.npy", np.zeros((16, 16)))
    assert "array.npy: m was trained on pictures" in failure(capsys, "predict", "array.npy", "--model", "m")
    assert "not inverted" in failure(capsys, "predict", images[0], "--model", "m", "--invert", "always")


def test_what_is_held_back_is_of_all_classes_and_never_trained_on(tmp_path: Path) -> None:
    root = str(pictures(tmp_path / "pets", 10))
    classes, train, test, _ = folder.load_folder(root, (3, 32, 32))
    assert classes == tuple(HUES)
    assert sorted([*train.chosen, *test.chosen]) == list(range(30))
    assert np.bincount(test[:][1]).tolist() == [2, 2, 2]
    again = folder.load_folder(root, (1, 8, 8))
    np.testing.assert_array_equal(again[2].chosen, test.chosen)
    assert again[1][:][0].shape == (24, 1, 8, 8)
    x, y = train[:]
    assert (x.shape, x.dtype, y.shape) == ((24, 3, 32, 32), np.uint8, (24,))


@pytest.mark.parametrize("tested", ["test", "val"])
def test_folders_train_and_test_are_what_they_say(elsewhere: Path, capsys, tested: str) -> None:
    pictures(elsewhere / "pets" / "train", 8)
    pictures(elsewhere / "pets" / tested, 3, (9, 12), seed=1)
    (elsewhere / "pets" / "readme").write_text("no picture")
    assert main(["train", "mlp", "--data", "pets", *BRIEF, "--lr", "0.001", "--out", "m"]) == 0
    output = capsys.readouterr().out
    assert "24 images to train, 9 to test" in output
    assert f"from {Path('pets', 'train')} and {Path('pets', tested)}" in output
    # A test folder alone is enough for evaluate, and not for train.
    pictures(elsewhere / "others" / tested, 5)
    assert main(["evaluate", "m", "--data", "others"]) == 0
    assert "15 test images" in capsys.readouterr().out
    # What is only trained on is nothing to evaluate.
    (elsewhere / "pets" / "train" / "red").rename(elsewhere / "pets" / "train" / "crimson")
    assert main(["evaluate", "m", "--data", "pets"]) == 0
    assert f"9 test images, from {Path('pets', tested)}; colours, 32×32" in capsys.readouterr().out
    assert "there is no folder train in it" in failure(capsys, "train", "mlp", "--data", "others")
    assert "crimson is a class in one of" in failure(capsys, "train", "mlp", "--data", "pets")


def test_classes_may_be_called_train_and_test(tmp_path: Path) -> None:
    root = pictures(tmp_path / "vehicles", 5)
    for old, new in zip(HUES, ("plane", "test", "train"), strict=True):
        (root / old).rename(root / new)
    classes, train, test, _ = folder.load_folder(str(root), (3, 8, 8))
    assert classes == ("plane", "test", "train")
    assert (len(train), len(test)) == (12, 3)


def test_grey_pictures_of_digits_size_are_for_lenet5(elsewhere: Path, capsys) -> None:
    pets = pictures(elsewhere / "pets", 6)
    assert "--grey --size 28" in failure(capsys, "train", "lenet5", "--data", "pets")
    grey = ["--grey", "--size", "28"]
    assert main(["train", "lenet5", "--data", "pets", *grey, *BRIEF, "--lr", "0.01", "--out", "m"]) == 0
    assert "grey, 28×28" in capsys.readouterr().out
    assert cnnlib.load("m").graph.nodes[-1].shape == (3,)
    assert main(["predict", str(pets / "red" / "0.png"), "--model", "m"]) == 0
    assert "note" not in capsys.readouterr().out  # as it was trained on, neither inverted nor cut
    assert main(["evaluate", "m", "--data", "pets"]) == 0
    assert main(["train", "lenet5", "--data", "pets", *grey, *BRIEF, "--lr", "0.01", "--augment"]) == 0


def test_other_classes_are_noted(elsewhere: Path, capsys) -> None:
    root = pictures(elsewhere / "pets", 5)
    assert main(["train", "mlp", "--data", "pets", *BRIEF, "--lr", "0.001", "--quiet", "--out", "m"]) == 0
    (root / "red").rename(root / "violet")
    assert main(["evaluate", "m", "--data", "pets"]) == 0
    assert "have different classes: expect no more than chance, 33 %" in capsys.readouterr().out
    assert "tells 3 classes apart" in failure(capsys, "evaluate", "m", "--data", "sample")
    model = cnnlib.load("m")
    for classes in ("[1, 2]", "{}", "no JSON", "[" * 100_000, '["a"]'):
        serialize.save(model, "m", {"trained_on": "folder", "classes": classes})
        assert main(["predict", str(root / "blue" / "0.png"), "--model", "m"]) == 0
        assert capsys.readouterr().out.split()[2:5] == ["0", "1", "2"]
    serialize.save(model, "m", {"trained_on": "folder", "classes": json.dumps(["a", "b", "\x1b[31m"])})
    assert main(["predict", str(root / "blue" / "0.png"), "--model", "m"]) == 0
    assert r"\x1b[31m" in capsys.readouterr().out


def test_an_interrupted_training_resumes_to_the_same_bits(elsewhere: Path, capsys, monkeypatch) -> None:
    pictures(elsewhere / "pets", 10)
    options = ["train", "vgg_mini", "--data", "pets", "--augment", "--epochs", "2", "--batch-size", "8", "--size", "8"]
    assert main([*options, "--out", "whole"]) == 0
    step, calls = Stepper.step, []

    def interrupted(self, *arguments):
        calls.append(1)
        if len(calls) == 5:  # 3 batches an epoch
            raise KeyboardInterrupt
        return step(self, *arguments)

    monkeypatch.setattr(Stepper, "step", interrupted)
    assert main([*options, "--out", "parts", "--checkpoint", "runs"]) == 130
    assert main([*options, "--out", "parts", "--checkpoint", "runs", "--resume"]) == 0
    whole, parts = (cnnlib.load(name).state_dict() for name in ("whole", "parts"))
    assert [array.tobytes() for array in whole.values()] == [array.tobytes() for array in parts.values()]
    monkeypatch.undo()
    monkeypatch.chdir(elsewhere)
    assert main([*(option for option in options if option != "--augment"), "--out", "plain"]) == 0
    assert cnnlib.load("plain").state_dict()["0.weight"].tobytes() != whole["0.weight"].tobytes()


def out_of_memory(input_shape: tuple[int, ...] = (), **_: object) -> None:
    raise MemoryError


def test_bad_folders_are_messages(elsewhere: Path, capsys, monkeypatch) -> None:
    command = ["train", "vgg_mini", "--data", "pets"]
    Path("pets").mkdir()
    assert "there is no folder in it, expected one for each class" in failure(capsys, *command)
    pictures(elsewhere / "pets" / "deep", 1)
    assert "deep is the only class" in failure(capsys, *command)
    Path("pets", "empty").mkdir()
    assert "no pictures for this class" in failure(capsys, *command)
    for name in ("1.png", "2.png"):
        Path("pets", "empty", name).write_bytes(b"no picture")
    monkeypatch.setattr(cnnlib.Trainer, "fit", lambda *_, **__: pytest.fail("training began"))
    assert ".png: not a picture" in failure(capsys, *command)
    assert "vgg_mini needs larger images than 3 × 4 × 4: raise --size" in failure(capsys, *command, "--size", "4")
    with monkeypatch.context() as patch:
        patch.setitem(MODELS, "vgg_mini", out_of_memory)
        assert "too large for memory: lower --size" in failure(capsys, *command)
    Path("pets", "only").mkdir()
    Path("pets", "only", "1.png").write_bytes(b"no picture")
    assert f"{Path('pets', 'only')}: one picture, expected at least two: 20% of each" in failure(capsys, *command)
    shutil.rmtree(Path("pets", "only"))
    monkeypatch.setattr(folder, "MAX_BYTES", 1000)
    assert "lower --size" in failure(capsys, *command)
    # The size of what is evaluated is the model's.
    serialize.save(Sequential(Flatten(), Linear(3072, 2), input_shape=(3, 32, 32)), "m")
    message = failure(capsys, "evaluate", "m", "--data", "pets")
    assert "are kept in memory: test on fewer pictures, or use Python" in message
    assert "--size" not in message
    monkeypatch.undo()
    monkeypatch.chdir(elsewhere)
    for name in ("PIL", "PIL.Image", "PIL.ImageOps"):
        monkeypatch.setitem(sys.modules, name, None)
    assert "pip install 'cnnlib[image]'" in failure(capsys, *command)
