"""Output sizes, padding, receptive fields, multiply-adds: the lecture's numbers, and refusals that name the cause."""

from __future__ import annotations

import numpy as np
import pytest

from cnnlib.errors import ConfigError, ShapeError
from cnnlib.shapes import (
    ReceptiveField,
    conv2d_multiply_adds,
    conv2d_output_shape,
    linear_multiply_adds,
    output_size,
    pair,
    pool2d_output_shape,
    pool2d_windows,
    resolve_padding,
    same_padding,
)


def count_windows(size: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    """Slide the window until it falls off the padded end."""
    reach = (kernel - 1) * dilation
    return len([start for start in range(-padding, size + padding, stride) if start + reach < size + padding])


@pytest.mark.parametrize("kernel", [1, 2, 3, 5])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("padding", [0, 1, 2])
@pytest.mark.parametrize("dilation", [1, 2])
def test_output_size_counts_windows(kernel: int, stride: int, padding: int, dilation: int) -> None:
    for size in range(1, 12):
        expected = count_windows(size, kernel, stride, padding, dilation)
        if expected:
            assert output_size(size, kernel, stride, padding, dilation) == expected
        else:
            with pytest.raises(ShapeError, match=f"{size} .*kernel {kernel}"):
                output_size(size, kernel, stride, padding, dilation)


def test_exact_output_size_refuses_a_rest() -> None:
    assert [output_size(7, 3, stride, exact=True) for stride in (1, 2)] == [5, 3]
    with pytest.raises(ShapeError, match=r"\(7 - 3\)/3 \+ 1 = 2\.33"):
        output_size(7, 3, 3, exact=True)
    with pytest.raises(ShapeError, match=r"\(6 \+ 2\*1 - 5\)/2 \+ 1 = 2\.50"):
        output_size(6, 3, 2, padding=1, dilation=2, exact=True)


def test_too_small_an_input_names_the_padding_that_would_do() -> None:
    with pytest.raises(ShapeError, match=r"padding >= 2"):
        output_size(2, 5, padding=1)
    assert output_size(2, 5, padding=2) == 2
    with pytest.raises(ShapeError, match=r"kernel 3 with dilation 4, reaching over 9: .*padding >= 1"):
        output_size(8, 3, dilation=4)


@pytest.mark.parametrize(
    ("keywords", "named"),
    [
        ({"stride": 0}, "stride"),
        ({"stride": -1}, "stride"),
        ({"padding": -1}, "padding"),
        ({"dilation": 0}, "dilation"),
        ({"kernel": 0}, "kernel"),
        ({"size": 0}, "size"),
        ({"padding": 2**31}, "padding"),
        ({"stride": 1.0}, "stride"),
        ({"padding": True}, "padding"),
        ({"dilation": "2"}, "dilation"),
    ],
)
def test_impossible_settings_are_named(keywords: dict[str, object], named: str) -> None:
    with pytest.raises(ConfigError, match=f"^{named} = "):
        output_size(**{"size": 7, "kernel": 3, **keywords})  # type: ignore[arg-type]


def test_pair() -> None:
    assert pair(3, "stride") == pair((3, 3), "stride") == pair([3, 3], "stride") == (3, 3)
    assert pair(np.int64(2), "stride") == (2, 2)
    assert all(type(number) is int for number in pair(np.int32(2), "stride"))


@pytest.mark.parametrize(
    "value", [True, 2.0, np.float32(2), "2", None, (1,), (1, 2, 3), (1, 2.0), (False, 1), -1, (0, -1)]
)
def test_pair_refuses(value: object) -> None:
    with pytest.raises(ConfigError, match=r"^kernel_size = "):
        pair(value, "kernel_size")


def test_same_padding_keeps_the_size() -> None:
    for kernel in (1, 3, 5, 7):
        for dilation in (1, 2, 3):
            padding, _ = same_padding(kernel, dilation)
            assert output_size(11, kernel, padding=padding, dilation=dilation) == 11
    assert same_padding((3, 5), (2, 1)) == (2, 2)
    assert same_padding(2, dilation=2) == (1, 1)  # a dilated even kernel may have an odd reach


def test_same_padding_refuses_what_no_padding_can_do() -> None:
    with pytest.raises(ConfigError, match=r"odd kernel.*\(3, 4\)"):
        same_padding((3, 4))
    with pytest.raises(ConfigError, match="stride 1"):
        same_padding(3, stride=(1, 2))
    with pytest.raises(ConfigError, match="'valid'"):
        resolve_padding("valid", 3)


def test_conv2d_output_shape() -> None:
    assert conv2d_output_shape((3, 32, 32), (6, 3, 5, 5)) == (6, 28, 28)
    assert conv2d_output_shape((3, 32, 32), (10, 3, 5, 5), padding="same") == (10, 32, 32)
    assert conv2d_output_shape((8, 4, 9, 11), (6, 2, 3, 2), (2, 3), (1, 0), (1, 2), 2) == (8, 6, 5, 3)


@pytest.mark.parametrize(
    ("x", "weight", "settings", "words"),
    [
        ((3, 8, 8), (6, 4, 3, 3), {}, ["(3, 8, 8)", "(6, 4, 3, 3)"]),
        ((4, 8, 8), (6, 4, 3, 3), {"groups": 2}, ["(4, 8, 8)", "(6, 4, 3, 3)", "groups=2"]),
        ((6, 8, 8), (4, 2, 3, 3), {"groups": 3}, ["(4, 2, 3, 3)", "groups=3"]),
        ((8, 8), (6, 1, 3, 3), {}, ["x", "(8, 8)", "(batch, channels, height, width)"]),
        ((1, 8, 8), (6, 3, 3), {}, ["weight", "(6, 3, 3)"]),
        ((0, 1, 8, 8), (6, 1, 3, 3), {}, ["(0, 1, 8, 8)", "empty batch"]),
        ((2, 0, 8, 8), (6, 1, 3, 3), {}, ["(2, 0, 8, 8)", "channel"]),
        ((1, 8, 2), (6, 1, 3, 3), {}, ["(1, 8, 2)", "width 2", "kernel 3"]),
        ((1, 2, 8), (6, 1, 3, 3), {}, ["(1, 2, 8)", "height 2", "kernel 3"]),
        ((1, 8, 8), (6, 1, 3, 3), {"padding": 2**30}, ["too large"]),
    ],
)
def test_conv2d_output_shape_refuses(
    x: tuple[int, ...], weight: tuple[int, ...], settings: dict[str, int], words: list[str]
) -> None:
    with pytest.raises(ShapeError) as caught:
        conv2d_output_shape(x, weight, **settings)  # type: ignore[arg-type]
    assert all(word in str(caught.value) for word in words), caught.value


def test_pool2d_output_shape() -> None:
    assert pool2d_output_shape((64, 224, 224), 2) == (64, 112, 112)
    assert pool2d_output_shape((2, 96, 55, 54), 3, 2) == (2, 96, 27, 26)
    assert pool2d_output_shape((1, 5, 5), (2, 3), (1, 2), (1, 0)) == (1, 6, 2)
    with pytest.raises(ConfigError, match="half"):
        pool2d_windows(3, padding=2)
    with pytest.raises(ConfigError, match="half"):
        pool2d_windows((4, 3), padding=(2, 2))


def test_what_equals_a_setting_that_was_kept_is_still_no_setting() -> None:
    assert pool2d_windows((1, 1), padding=0) is pool2d_windows([1, 1], padding=[0, 0])
    for wrong in ((True, 1), (1.0, 1.0)):
        with pytest.raises(ConfigError, match="expected an int"):
            pool2d_windows(wrong)


def test_multiply_adds() -> None:
    assert conv2d_multiply_adds((3, 32, 32), (10, 3, 5, 5), padding=2) == 768_000
    assert conv2d_multiply_adds((2, 3, 32, 32), (10, 3, 5, 5), padding=2) == 2 * 768_000
    assert conv2d_multiply_adds((8, 4, 4), (8, 1, 3, 3), groups=8) == 8 * 4 * 9
    assert linear_multiply_adds(2450, 500) == 2450 * 500


LAYERS = [(5, 1, 2, 1), (2, 2, 0, 1), (3, 1, 0, 2), (3, 2, 1, 1)]  # kernel, stride, padding, dilation


def footprint(unit: int) -> set[int]:
    """Follow one output unit of LAYERS back to the input pixels that it reads."""
    seen = {unit}
    for kernel, stride, padding, dilation in reversed(LAYERS):
        seen = {u * stride + tap * dilation - padding for u in seen for tap in range(kernel)}
    return seen


def test_receptive_field_is_the_footprint_of_a_unit() -> None:
    field = ReceptiveField()
    for layer in LAYERS:
        field = field.then(ReceptiveField.of(*layer))
    for unit in (0, 1, 7):
        seen, pixels = footprint(unit), field.pixels(unit)
        assert (min(seen), max(seen)) == (pixels[0], pixels[-1])
    assert field.centre == (min(footprint(0)) + max(footprint(0))) / 2
    assert field.stride == 4


def test_receptive_field_of_branches_holds_both() -> None:
    wide, narrow = ReceptiveField.of(5, padding=2), ReceptiveField.of(3, padding=1)
    assert wide.union(narrow) == narrow.union(wide) == wide
    assert ReceptiveField(3, 2, -4).union(ReceptiveField(2, 2, 3)) == ReceptiveField(9, 2, -4)
    with pytest.raises(ShapeError, match="strides 1 and 2"):
        wide.union(ReceptiveField.of(3, stride=2))
