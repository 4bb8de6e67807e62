"""Transforms: what each does to an image, against plain definitions; chance that follows from a sample's place."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import cnnlib
from cnnlib import augment, functional, reference
from cnnlib.augment import BatchRandom
from cnnlib.errors import CNNError, ConfigError, DataError, DTypeError, ShapeError

RNG = np.random.default_rng(4)
DTYPES = (np.uint8, np.float32, np.float64)
BYTES = RNG.integers(0, 256, (12, 2, 9, 7), np.uint8)
LABELS = np.arange(12) % 3
ALL = {
    "horizontal": augment.RandomHorizontalFlip(),
    "vertical": augment.RandomVerticalFlip(),
    "crop": augment.RandomCrop((8, 6), padding=(2, 1)),
    "affine": augment.RandomAffine(20, (0.2, 0.1), (0.8, 1.3), (-10, 10, -5, 5), fill=3),
    "rotation": augment.RandomRotation(30),
    "elastic": augment.ElasticTransform(40, 2),
    "noise": augment.GaussianNoise(0.02, 0.2),
    "mixup": augment.MixUp(0.4, num_classes=3),
}
ALL["all"] = augment.Compose(list(ALL.values()))


def images(dtype: type) -> Any:
    return BYTES if dtype == np.uint8 else (BYTES / 255).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ALL)
def test_same_seed_same_bits_on_any_threads(name: str, dtype: type) -> None:
    x, kept = images(dtype), images(dtype).copy()
    (first, targets), threads = ALL[name](x, LABELS, 5), cnnlib.get_num_threads()
    try:
        for number in (1, 2, 4):
            cnnlib.set_num_threads(number)
            again, others = ALL[name](x, LABELS, 5)
            assert again.tobytes() == first.tobytes()
            assert others.tobytes() == targets.tobytes()
    finally:
        cnnlib.set_num_threads(threads)
    assert first.dtype == dtype
    assert not np.array_equal(first, ALL[name](x, LABELS, 6)[0])
    np.testing.assert_array_equal(x, kept)
    assert targets is LABELS or name in ("mixup", "all")


@pytest.mark.parametrize("name", ALL)
@given(order=st.permutations(range(12)), size=st.integers(1, 12))
def test_a_sample_meets_the_same_chance_in_any_batch(name: str, order: list[int], size: int) -> None:
    wanted_x, wanted_y = ALL[name](BYTES, LABELS, 9)
    for start in range(0, 12, size):
        at = np.array(order[start : start + size])
        rng = BatchRandom(at, 9, 0, lambda at: (BYTES[at], LABELS[at]), 12)
        x, y = ALL[name](BYTES[at], LABELS[at], rng)
        assert x.tobytes() == wanted_x[at].tobytes()
        assert y.tobytes() == wanted_y[at].tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "transform",
    [
        augment.RandomHorizontalFlip(0),
        augment.RandomVerticalFlip(0),
        augment.RandomCrop((9, 7)),
        augment.RandomAffine(0, (0, 0), (1, 1), 0, fill=9),
        augment.RandomRotation(0),
        augment.ElasticTransform(0, 3, fill=9),
        augment.GaussianNoise(0, 0, clip=False),
        augment.Compose([]),
    ],
    ids=repr,
)
def test_settings_that_change_nothing_leave_every_bit(transform: Any, dtype: type) -> None:
    x = images(dtype).copy()
    if dtype != np.uint8:
        x[0, 0, :4, 0] = np.nan, np.inf, -0.0, 1e-45
        x = x[:1] if isinstance(transform, augment.GaussianNoise) else x
        x[x == 0] = 0  # x + 0 is no -0
        x[0, 0, 2, 1] = 0.0 if isinstance(transform, augment.GaussianNoise) else -0.0
    assert transform(x, rng=3).tobytes() == x.tobytes()


# Each against a definition


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bent", [False, True])
def test_warp_is_its_definition(dtype: type, bent: bool) -> None:
    for shape in ((5, 3, 11, 8), (2, 1, 1, 1), (3, 2, 1, 6), (70, 1, 28, 28)):
        x = RNG.integers(0, 256, shape).astype(dtype)
        matrix = np.concatenate(
            [np.eye(2) + RNG.normal(0, 0.4, (shape[0], 2, 2)), RNG.normal(0, 5, (shape[0], 2, 1))], 2
        )
        matrix[0] = [[1, 0, 2], [0, 1, -3]]
        matrix[1] = [[1, 0, np.nan], [0, 1, 1e300]]
        shift = RNG.normal(0, 2, (shape[0], 2, *shape[2:])).astype(np.float32) if bent else None
        y, wanted = functional.warp(x, matrix, shift, 7), reference.warp(x, matrix, shift, 7)
        np.testing.assert_allclose(y, wanted, rtol=1e-6 if dtype == np.float32 else 1e-12, atol=1e-6)
        assert y.dtype == dtype
        if not bent:
            np.testing.assert_array_equal(y[1], 7)


@pytest.mark.parametrize("bent", [False, True])
def test_warp_agrees_with_scipy(bent: bool) -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    x = RNG.random((4, 2, 9, 12))
    matrix = np.concatenate([np.eye(2) + RNG.normal(0, 0.4, (4, 2, 2)), RNG.normal(0, 3, (4, 2, 1))], 2)
    shift = RNG.normal(0, 2, (4, 2, 9, 12)).astype(np.float32) * bent
    y = functional.warp(x, matrix, shift, 0.25)
    i, j = np.mgrid[:9, :12]
    for image, m, d, got in zip(x, matrix, shift, y, strict=True):
        column, row = m[0, 0] * j + m[0, 1] * i + m[0, 2] + d[0], m[1, 0] * j + m[1, 1] * i + m[1, 2] + d[1]
        for plane, warped in zip(image, got, strict=True):
            wanted = ndimage.map_coordinates(plane, [row, column], order=1, mode="grid-constant", cval=0.25)
            np.testing.assert_allclose(warped, wanted, rtol=0, atol=1e-12)


def test_whole_turns_and_shifts_move_pixels_as_they_are() -> None:
    x = images(np.float32)[:, :, :7]
    turned = augment.RandomAffine((90, 90))(x)
    np.testing.assert_allclose(turned, np.rot90(x, -1, axes=(2, 3)), atol=1e-6)
    np.testing.assert_allclose(augment.RandomRotation((90, 90))(x), np.rot90(x, axes=(2, 3)), atol=1e-6)
    for translate, axis, size in (((3 / 7, 0), 3, 7), ((0, 3 / 7), 2, 7)):
        matrices = augment.RandomAffine(0, translate).matrices(x.shape, BatchRandom(np.arange(9000)))
        shift = matrices[:, 3 - axis, 2]
        assert -3 <= shift.min() < -2.98
        assert 2.98 < shift.max() <= 3
        assert size == x.shape[axis]
        assert not matrices[:, axis - 2, 2].any()


def test_an_affine_map_is_pytorchs() -> None:
    """The matrix that PyTorch's RandomAffine hands on: its documented product, inverted."""
    transform = augment.RandomAffine((-40, 60), (0.3, 0.2), (0.5, 2), (-20, 10, -15, 25))
    rng = BatchRandom(np.arange(50), seed=8)
    matrices = transform.matrices((50, 1, 21, 30), rng)
    drawn = BatchRandom(np.arange(50), seed=8)
    angle, across, along, scale, shear_x, shear_y = (
        drawn.uniform(*ends) for ends in ((-40, 60), (-0.3, 0.3), (-0.2, 0.2), (0.5, 2), (-20, 10), (-15, 25))
    )
    for n in range(50):
        t, sx, sy = np.radians([angle[n], shear_x[n], shear_y[n]])
        to_centre = np.array([[1, 0, 14.5], [0, 1, 10], [0, 0, 1.0]])
        shift = np.array([[1, 0, 30 * across[n]], [0, 1, 21 * along[n]], [0, 0, 1]])
        rotation = np.array([[np.cos(t), -np.sin(t), 0], [np.sin(t), np.cos(t), 0], [0, 0, 1]])
        tilt = np.array([[1, 0, 0], [-np.tan(sy), 1, 0], [0, 0, 1]]) @ np.array(
            [[1, -np.tan(sx), 0], [0, 1, 0], [0, 0, 1]]
        )
        whole = shift @ to_centre @ rotation @ tilt @ np.diag([scale[n], scale[n], 1]) @ np.linalg.inv(to_centre)
        np.testing.assert_allclose(matrices[n], np.linalg.inv(whole)[:2], atol=1e-9)


def test_flips_happen_as_often_as_they_should() -> None:
    x = np.broadcast_to(np.arange(6.0).reshape(1, 1, 2, 3), (4000, 1, 2, 3))
    for transform, axis in ((augment.RandomHorizontalFlip(0.3), 3), (augment.RandomVerticalFlip(0.3), 2)):
        y = transform(x, rng=2)
        flipped = (y == np.flip(x, axis)).all(axis=(1, 2, 3))
        assert (flipped | (y == x).all(axis=(1, 2, 3))).all()
        assert 0.27 < flipped.mean() < 0.33


def test_crops_are_windows_of_the_padded_image_and_any_of_them() -> None:
    x = np.arange(1, 21, dtype=np.uint8).reshape(1, 1, 4, 5).repeat(600, 0)
    y = augment.RandomCrop((3, 5), padding=(1, 2), fill=99)(x, rng=1)
    padded = np.pad(x[0, 0], ((1, 1), (2, 2)), constant_values=99)
    windows = {padded[i : i + 3, j : j + 5].tobytes() for i in range(4) for j in range(5)}
    assert {crop.tobytes() for crop in y} == windows


def test_elastic_fields_are_blurred_noise() -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    x = np.broadcast_to(np.mgrid[:40, :30].astype(np.float64)[None], (3, 2, 40, 30))  # row and column of each pixel
    y = augment.ElasticTransform(alpha=60, sigma=4)(x, rng=7)
    noise = BatchRandom(np.arange(3), seed=7).uniforms(2, 40, 30)
    for image, pair in zip(y, noise, strict=True):
        for axis, part in ((1, pair[0]), (0, pair[1])):
            moved = (image[axis] - x[0, axis])[6:-6, 6:-6]
            blurred = 30 * ndimage.gaussian_filter(part.astype(np.float64), 4, mode="mirror", truncate=4)
            np.testing.assert_allclose(moved, blurred[6:-6, 6:-6], atol=1e-3)


def test_noise_has_its_mean_and_deviation() -> None:
    x = np.full((50, 1, 30, 30), 128, np.uint8)
    for array, top, clip in ((x, 255, True), ((x / 255).astype(np.float32), 1, True), (x / 255 * 9, 1, False)):
        change = augment.GaussianNoise(0.02, 0.05, clip)(array, rng=3).astype(np.float64) - array
        assert abs(change.mean() / top - 0.02) < 0.001
        assert abs(change.std() / top - 0.05) < 0.001
    extreme = augment.GaussianNoise(0, 5)(x, rng=1)
    assert (extreme.min(), extreme.max()) == (0, 255)


# Mixup


@pytest.mark.parametrize("dtype", DTYPES)
def test_mixup_mixes_images_and_targets_alike(dtype: type) -> None:
    n = 200
    place = np.arange(n)
    x = np.zeros((n, 1, 1, n), dtype)  # each image has a pixel of its own
    x[place, 0, 0, place] = 200
    y, soft = augment.MixUp(1.0, 10)(x, place % 10, rng=3)
    assert (y.dtype, soft.dtype, soft.shape) == (dtype, np.float32, (n, 10))
    np.testing.assert_allclose(soft.sum(axis=1), 1, atol=1e-6)
    shares = y[:, 0, 0].astype(np.float64) / 200
    by_class = np.stack([shares[:, place % 10 == k].sum(axis=1) for k in range(10)], axis=1)
    np.testing.assert_allclose(by_class, soft, atol=0.003 if dtype == np.uint8 else 1e-6)
    assert len({int(np.delete(row, i).argmax()) for i, row in enumerate(shares)}) > n / 2
    rows = augment.MixUp(1.0)(x, np.eye(10)[place % 10], rng=3)[1]
    np.testing.assert_allclose(rows, soft, atol=1e-6)


@pytest.mark.parametrize("alpha", [0.05, 0.4, 1.0, 6.0])
def test_lambda_is_of_the_beta_distribution(alpha: float) -> None:
    x, y = np.ones((20000, 1, 1, 1)), np.stack([np.arange(20000), np.ones(20000)], axis=1).astype(float)
    kept = BatchRandom(np.arange(20000), seed=1)
    from cnnlib.augment.values import _beta

    found = _beta(alpha, kept)
    assert (augment.MixUp(alpha)(x, y, rng=1)[0] == 1).all()
    assert 0 <= found.min() <= found.max() <= 1
    assert abs(found.mean() - 0.5) < 0.02
    assert abs(found.var() * 4 * (2 * alpha + 1) - 1) < 0.05


def test_mixup_takes_other_samples_as_they_are_by_then() -> None:
    """A mixture of flipped images, the other of which was flipped as it was for itself."""
    x = RNG.random((40, 1, 1, 5))
    y = np.eye(40)
    flip = augment.RandomHorizontalFlip()
    flipped = augment.Compose([flip])(x, y, rng=4)[0]
    mixed, share = augment.Compose([flip, augment.MixUp(1.0)])(x, y, rng=4)
    np.testing.assert_allclose(mixed[:, 0, 0], share @ flipped[:, 0, 0], atol=1e-12)


# What is refused


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: augment.RandomHorizontalFlip(1.5), "p = 1.5"),
        (lambda: augment.RandomCrop(0.5), "size = 0.5"),
        (lambda: augment.RandomAffine(-3), "degrees = -3"),
        (lambda: augment.RandomAffine((5, 1)), "low ≤ high"),
        (lambda: augment.RandomAffine(0, translate=(2, 0)), "translate"),
        (lambda: augment.RandomAffine(0, translate=0.1), "translate = 0.1: expected two fractions"),
        (lambda: augment.RandomAffine(0, scale=(0, 1)), "both positive"),
        (lambda: augment.ElasticTransform(-1), "alpha = -1"),
        (lambda: augment.GaussianNoise(sigma=-0.1), r"sigma = -0\.1"),
        (lambda: augment.MixUp(0), "alpha = 0"),
        (lambda: augment.MixUp(1, num_classes=1), "num_classes = 1"),
        (lambda: augment.Compose([3]), "expected a list of transforms"),
        (lambda: augment.RandomCrop(4)(BYTES, rng=-1), "seed = -1"),
        (lambda: augment.RandomCrop(9, 4, fill=300)(BYTES), "fill = 300"),
        (lambda: augment.RandomRotation(9, fill=-1)(BYTES), "fill = -1"),
    ],
)
def test_settings_that_cannot_work(make: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


@pytest.mark.parametrize("name", ALL)
def test_arrays_that_are_no_images_are_refused(name: str) -> None:
    for wrong, error in (
        (BYTES[:, 0], ShapeError),
        (BYTES[:0], ShapeError),
        (BYTES.astype(np.int64), DTypeError),
        (BYTES.astype(object), DTypeError),
        (np.ma.masked_array(BYTES), DTypeError),
        (BYTES.tolist(), CNNError),
        (None, CNNError),
    ):
        with pytest.raises(error):
            ALL[name](wrong, LABELS[: len(wrong)] if wrong is not None else None)
    with pytest.raises(DataError, match="one length"):
        ALL[name](BYTES, LABELS[:5])
    with pytest.raises(ShapeError, match="for 3 samples"):
        ALL[name](BYTES, LABELS, BatchRandom(np.arange(3)))


def test_data_that_cannot_be_cut_or_mixed() -> None:
    with pytest.raises(ShapeError, match=r"RandomCrop needs images of 10×10 pixels or more"):
        augment.RandomCrop(10)(BYTES)
    for y, message in (
        (None, "got NoneType"),
        (LABELS + 1, r"labels 1 … 3, expected 0 … 2"),
        ({"a": LABELS}, "got dict"),
    ):
        with pytest.raises(DataError, match=message):
            augment.MixUp(1, 3)(BYTES, y)
    with pytest.raises(DataError, match="num_classes"):
        augment.MixUp(1)(BYTES, LABELS)
    with pytest.raises(DataError, match="belong to no data"):
        augment.MixUp(1, 3)(BYTES, LABELS, BatchRandom(np.arange(12)))


@pytest.mark.parametrize("name", ALL)
def test_a_transform_says_what_it_is(name: str) -> None:
    """So that a checkpoint can tell one training from another."""
    assert repr(eval(repr(ALL[name]), vars(augment))) == repr(ALL[name])
