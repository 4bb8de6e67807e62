"""Pictures in folders as data to train on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cnnlib
from cnnlib import SGD, CrossEntropyLoss, Flatten, Linear, Sequential, Trainer, augment
from cnnlib.datasets import ImageFolder
from cnnlib.errors import ConfigError, DataError, DataNotFoundError, FileFormatError, ShapeError

Image = pytest.importorskip("PIL.Image")
RNG = np.random.default_rng(3)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two classes of PNGs 6×5, one deeper and with another ending; what is no picture; a hidden folder."""
    for name, files in {"dog": ["b.png", "a.PNG"], "cat": ["deep/x.bmp", "y.png", "z.png"]}.items():
        for file in files:
            path = tmp_path / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(RNG.integers(0, 256, (6, 5, 3), np.uint8)).save(path)
    (tmp_path / "cat" / "notes.txt").write_text("no picture")
    (tmp_path / "readme").write_text("no folder")
    (tmp_path / ".hidden").mkdir()
    return tmp_path


def test_classes_order_and_pixels(root: Path) -> None:
    data = ImageFolder(root)
    assert data.classes == ["cat", "dog"]
    assert data.class_to_idx == {"cat": 0, "dog": 1}
    assert [Path(path).name for path in data.paths] == ["x.bmp", "y.png", "z.png", "a.PNG", "b.png"]
    x, y = data[np.array([4, 0])]
    assert (x.shape, x.dtype, y.tolist()) == ((2, 3, 6, 5), np.uint8, [1, 0])
    for picture, i in zip(x, (4, 0), strict=True):
        np.testing.assert_array_equal(picture, np.asarray(Image.open(data.paths[i])).transpose(2, 0, 1))
    grey, _ = ImageFolder(root, (4, 7), "L")[1:3]
    assert grey.shape == (2, 1, 4, 7)
    wanted = Image.open(data.paths[1]).convert("L").resize((7, 4), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(grey[0, 0], np.asarray(wanted))
    assert len(ImageFolder(root, extensions=[".bmp", ".txt", ".png"])) == 6


def test_depths_of_16_bits_and_transparency(root: Path) -> None:
    Image.fromarray(np.full((6, 5), 0x8080, np.uint16)).save(root / "dog" / "c.png")
    Image.fromarray(np.zeros((6, 5, 4), np.uint8)).save(root / "dog" / "d.png")
    x, _ = ImageFolder(root)[5:]
    assert (x[0] == 0x80).all()
    assert (x[1] == 255).all()  # nothing on white paper


def test_it_trains_and_is_evaluated(root: Path) -> None:
    def trained(data: Any) -> tuple[bytes, dict[str, float]]:
        model = Sequential(Flatten(), Linear(90, 2, rng=0), input_shape=(3, 6, 5))
        trainer = Trainer(model, CrossEntropyLoss(), SGD(0.1))
        trainer.fit(data, epochs=2, batch_size=2, verbose=0, augment=augment.RandomRotation(9), class_weight="balanced")
        return model.parameters()["1.weight"].data.tobytes(), trainer.evaluate(data)

    data = ImageFolder(root)
    assert trained(data) == trained(data[:])


def test_what_is_wrong_is_named(root: Path, tmp_path: Path) -> None:
    (root / "dog" / "b.png").write_bytes((root / "dog" / "b.png").read_bytes()[:60])
    with pytest.raises(FileFormatError, match=r"dog.b\.png"):
        ImageFolder(root)[:]
    Image.fromarray(np.zeros((9, 8), np.uint8)).save(root / "dog" / "b.png")
    with pytest.raises(ShapeError, match=r"b\.png: 9×8 pixels, .*x\.bmp has 6×5: pass ImageFolder\(root, size=…\)"):
        ImageFolder(root)[:]
    with pytest.raises(DataError, match="expected a slice or an array"):
        ImageFolder(root)[0]
    (root / "empty").mkdir()
    with pytest.raises(DataError, match="empty: no pictures for this class"):
        ImageFolder(root)
    with pytest.raises(DataNotFoundError, match="no such folder"):
        ImageFolder(root / "nowhere")
    with pytest.raises(DataNotFoundError, match="there is no folder in it"):
        ImageFolder(root / "empty")
    for settings, message in (({"mode": "CMYK"}, "mode = 'CMYK'"), ({"size": 0}, "size")):
        with pytest.raises(ConfigError, match=message):
            ImageFolder(root, **settings)
    with pytest.raises(ConfigError, match="root = 3"):
        cnnlib.datasets.ImageFolder(3)  # type: ignore[arg-type]
