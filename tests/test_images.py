"""Pictures and arrays made fit for a model: what is read, what is done to it, what is refused."""

from __future__ import annotations

import io
import struct
import sys
import zipfile
import zlib

import numpy as np
import pytest

from cnnlib import datasets, images
from cnnlib.errors import CNNError, ConfigError, DataError, FileFormatError, MissingExtraError
from cnnlib.images import Image, fit, read_images, resize

PIL = pytest.importorskip("PIL.Image")


@pytest.fixture(scope="module")
def digits() -> np.ndarray:
    return datasets.mnist_sample()[1][0][:20, 0]


def picture(path, pixels: np.ndarray, mode: str | None = None, **options) -> str:
    image = PIL.fromarray(pixels)
    (image.convert(mode) if mode else image).save(path, **options)
    return str(path)


def read_one(path) -> Image:
    (image,) = read_images(path)
    return image


@pytest.mark.parametrize("mode", ["L", "RGB", "P", "RGBA"])
def test_pictures_become_grey(tmp_path, digits, mode) -> None:
    image = read_one(picture(tmp_path / "digit.png", digits[0], mode))
    np.testing.assert_allclose(image.pixels, digits[0] / 255, atol=1 / 255)
    assert fit(image, (28, 28), box=20).notes == []


def test_transparency_is_white_paper(tmp_path) -> None:
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[3:5, 3:5, 3] = 255  # black ink, the rest transparent
    image = read_one(picture(tmp_path / "ink.png", pixels))
    assert image.pixels[0, 0] == 1
    assert image.pixels[3, 3] == 0


def test_sixteen_bits_keep_their_scale(tmp_path) -> None:
    pixels = np.array([[0, 65535], [32768, 100]], np.uint16)
    np.testing.assert_allclose(read_one(picture(tmp_path / "deep.png", pixels)).pixels, pixels / 65535, atol=1e-6)


@pytest.mark.parametrize(
    ("array", "count"),
    [
        (np.zeros((28, 28), np.uint8), 1),
        (np.zeros((3, 28, 28), np.uint8), 3),
        (np.zeros((3, 1, 20, 30), np.float64), 3),
        (np.asfortranarray(np.zeros((5, 9), np.float32)), 1),
        (np.zeros((5, 9), bool), 1),
    ],
)
def test_arrays(tmp_path, array, count) -> None:
    np.save(tmp_path / "a.npy", array)
    np.savez_compressed(tmp_path / "a.npz", first=array, second=array)
    assert len(read_images(tmp_path / "a.npy")) == count
    named = read_images(tmp_path / "a.npz")
    assert len(named) == 2 * count
    assert "first" in named[0].name
    assert "second" in named[-1].name


def test_arrays_keep_their_values(tmp_path, rng) -> None:
    levels = rng.integers(0, 256, (6, 5))
    for array in (levels.astype(np.uint8), levels, levels / 255, np.asfortranarray(levels / 255)):
        np.save(tmp_path / "a.npy", array)
        np.testing.assert_allclose(read_one(tmp_path / "a.npy").pixels, levels / 255, atol=1e-6)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.full((4, 4), 2.0), "0 to 1"),
        (np.full((4, 4), -1), "0 to 255"),
        (np.full((4, 4), np.nan), "values from nan"),
        (np.zeros(7), "grey images H×W"),
        (np.zeros((2, 3, 8, 8)), "grey images H×W"),
        (np.zeros((8, 8, 3)), "grey images H×W"),
        (np.zeros((0, 8, 8)), "shape"),
        (np.zeros((4, 4), complex), "expected numbers"),
        (np.array([[{}]], dtype=object), "expected numbers"),
    ],
    ids=["above-1", "negative", "nan", "vector", "colour", "colour-last", "empty", "complex", "objects"],
)
def test_arrays_that_are_no_grey_images(tmp_path, array, message) -> None:
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(DataError, match=message):
        read_images(tmp_path / "a.npy")


def test_an_array_file_never_takes_more_memory_than_it_has(tmp_path) -> None:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f8", "fortran_order": False, "shape": (1 << 20, 1 << 20)})
    (tmp_path / "lie.npy").write_bytes(stream.getvalue())
    with pytest.raises(FileFormatError, match="promises"):
        read_images(tmp_path / "lie.npy")
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", bytes(images.MAX_BYTES + 1))
    with pytest.raises(FileFormatError, match="at most"):
        read_images(tmp_path / "bomb.npz")


def test_a_picture_is_measured_before_it_is_unpacked(tmp_path) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 30000, 30000, 8, 0, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    (tmp_path / "huge.png").write_bytes(png)
    with pytest.raises(FileFormatError, match=r"huge\.png"):
        read_images(tmp_path / "huge.png")


@pytest.mark.parametrize("name", ["digit.png", "digit.npy", "digit.npz"])
def test_damaged_files_are_refused(tmp_path, digits, name) -> None:
    picture(tmp_path / "digit.png", digits[0])
    np.save(tmp_path / "digit.npy", digits[0])
    np.savez(tmp_path / "digit.npz", digits[0])
    whole = (tmp_path / name).read_bytes()
    for data in (b"", b"hello", whole[:20], whole[: len(whole) // 2]):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(CNNError, match=name):
            read_images(tmp_path / name)


def test_without_pillow_the_message_names_the_extra(tmp_path, digits, monkeypatch) -> None:
    path = picture(tmp_path / "digit.png", digits[0])
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(MissingExtraError, match=r"cnnlib\[image\]"):
        read_images(path)


def test_inversion_follows_the_rim(digits) -> None:
    bright, dark = Image("a", digits[0] / np.float32(255)), Image("b", 1 - digits[0] / np.float32(255))
    np.testing.assert_array_equal(fit(bright, (28, 28)).pixels, bright.pixels)
    np.testing.assert_allclose(fit(dark, (28, 28)).pixels, bright.pixels, atol=1e-6)
    np.testing.assert_array_equal(fit(dark, (28, 28), "never").pixels, dark.pixels)
    np.testing.assert_array_equal(fit(bright, (28, 28), "always").pixels, 1 - bright.pixels)
    assert ["inverted" in note for note in fit(dark, (28, 28)).notes] == [True]
    with pytest.raises(ConfigError, match="sometimes"):
        fit(dark, (28, 28), "sometimes")


def test_a_digit_anywhere_on_a_page_comes_back(digits, rng) -> None:
    """Scaled, moved, inverted, on grey and uneven paper: what comes back is near the digit as MNIST has it.

    A centre of mass that is half a pixel off gives a mean correlation of 0.82 instead of 0.93.
    """
    correlations = []
    for digit in digits:
        side = int(rng.integers(60, 140))
        large = resize(digit / 255, (side, side))
        page = 0.85 - rng.uniform(0, 0.08, (260, 240))
        top, left = int(rng.integers(0, 260 - side)), int(rng.integers(0, 240 - side))
        page[top : top + side, left : left + side] -= 0.7 * large
        found = fit(Image("page", page.astype(np.float32)), (28, 28), box=20)
        assert len(found.notes) == 2
        correlations.append(np.corrcoef(found.pixels.ravel(), digit.ravel())[0, 1])
    assert np.mean(correlations) > 0.9
    assert min(correlations) > 0.6


def test_the_whole_image_keeps_its_proportions() -> None:
    page = np.full((60, 20), 0.2, np.float32)
    page[20:40] = 0.9
    found = fit(Image("page", page), (28, 28))
    assert found.pixels.shape == (28, 28)
    np.testing.assert_allclose(found.pixels[:, :8], 0.2, atol=1e-6)  # padded with the ground
    assert found.pixels[14, 14] == pytest.approx(0.9)
    assert found.notes == ["padded from 60×20 to 60×60", "resized from 60×60 to 28×28"]


def test_an_empty_page_is_reported() -> None:
    for size in ((28, 28), (50, 40)):
        assert any("no ink" in note for note in fit(Image("page", np.ones(size, np.float32)), (28, 28), box=20).notes)


@pytest.mark.parametrize("box", [0, 29])
def test_a_box_must_fit(box) -> None:
    with pytest.raises(ConfigError, match="box"):
        fit(Image("page", np.zeros((28, 28), np.float32)), (28, 28), box=box)


@pytest.mark.parametrize("size", [(1, 1), (7, 30), (28, 28), (100, 90)])
def test_resize_keeps_flat_images_and_the_mean(rng, size) -> None:
    np.testing.assert_allclose(resize(np.full((28, 28), 0.3), size), 0.3)
    smooth = np.add.outer(np.linspace(0, 1, 28), np.linspace(0, 1, 28))
    assert resize(smooth, size).mean() == pytest.approx(smooth.mean(), abs=0.02)
