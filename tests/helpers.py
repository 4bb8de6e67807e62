"""What tests share: one tolerance, one gradient check, poisoned and guarded arrays, threads, examples run."""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import cnnlib
from cnnlib import _kernels

Array = np.ndarray[Any, Any]
EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def torch_numbers() -> dict[str, Any]:
    """Return the table of PyTorch's optimizers and schedules that data/make_torch_numbers.py made."""
    text = (Path(__file__).parent / "data" / "torch_numbers.json").read_text(encoding="utf-8")
    table: dict[str, Any] = json.loads(text)
    return table


def assert_close(actual: Array, expected: Array, sum_length: int = 1, term: float = 0.0) -> None:
    """Assert that `actual` is `expected` (float64) up to the rounding of sums of `sum_length` terms.

    The error of a sum of n rounded terms grows like √n·eps relative to the result's scale, which is the largest
    element, or, as a few sums may happen to cancel, at least `term`·√n, where `term` is the typical size of a term.
    """
    assert isinstance(actual, np.ndarray)
    assert actual.shape == expected.shape, f"shape {actual.shape}, expected {expected.shape}"
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(actual[~finite], expected[~finite])
    scale = max(np.abs(expected[finite]).max(initial=0), term * np.sqrt(sum_length))
    tolerance = 4 * np.finfo(actual.dtype).eps * np.sqrt(sum_length) * scale
    np.testing.assert_allclose(actual[finite], expected[finite], rtol=0, atol=tolerance)


def check_gradient(
    function: Callable[[], Array],
    gradient: Callable[[Array], Array],
    x: Array,
    *,
    where: Array | bool = True,
    step: float = 1e-5,
    tolerance: float = 1e-7,
) -> None:
    """Assert that `gradient` is the derivative of `function` in `x`, element by element, by central differences.

    `function()` reads the float64 array `x`, which is changed in place; its output is projected on a fixed random
    direction r, and `gradient(r)` must be ∂(r·function)/∂x. Elements that are not in `where`, those in the band
    around a kink, are not compared.
    """
    direction = np.random.default_rng(5).normal(size=function().shape)
    analytic = np.array(gradient(direction))
    assert analytic.shape == x.shape
    numeric = analytic.copy()
    for index in zip(*np.nonzero(np.broadcast_to(where, x.shape)), strict=True):
        here = x[index]
        x[index] = here + step
        above = function()
        x[index] = here - step
        below = function()
        x[index] = here
        numeric[index] = (direction * (above - below)).sum() / (2 * step)
    scale = max(1.0, np.abs(numeric).max())
    np.testing.assert_allclose(analytic, numeric, rtol=0, atol=tolerance * scale)


def normal(rng: np.random.Generator, *shape: int, dtype: type = np.float64) -> Array:
    return rng.normal(size=shape).astype(dtype)


def ties(rng: np.random.Generator, *shape: int, dtype: type = np.float64) -> Array:
    """Return shuffled numbers with many repeats: the inputs that tell max-pool conventions apart."""
    return rng.integers(-3, 4, size=shape).astype(dtype)


def poisoned(shape: tuple[int, ...], dtype: type) -> Array:
    """Return an output array full of NaN, which shows every element that a kernel fails to write or adds to."""
    return np.full(shape, np.nan, dtype)


def in_lanes(x: Array) -> Array:
    """Return images N×C×H×W in lane layout, [ceil(N/L)][C][H][W·L], zeros where there is no image."""
    lanes = _kernels.lanes() * 4 // x.itemsize
    groups = -(-len(x) // lanes)
    padded = np.zeros((groups * lanes, *x.shape[1:]), x.dtype)
    padded[: len(x)] = x
    split = padded.reshape(groups, lanes, *x.shape[1:])
    return np.ascontiguousarray(np.moveaxis(split, 1, -1)).reshape(groups, *x.shape[1:3], -1)


def out_of_lanes(x: Array, n: int) -> Array:
    """Return the first `n` images of an array in lane layout, as N×C×H×W."""
    lanes = _kernels.lanes() * 4 // x.itemsize
    return np.moveaxis(x.reshape(*x.shape[:3], -1, lanes), -1, 1).reshape(-1, *x.shape[1:3], x.shape[3] // lanes)[:n]


@contextmanager
def num_threads(threads: int) -> Iterator[None]:
    before = _kernels.get_num_threads()
    _kernels.set_num_threads(threads)
    try:
        yield
    finally:
        _kernels.set_num_threads(before)


def assert_same_bits_for_any_threads(function: Callable[[], tuple[Array, ...]]) -> None:
    """Assert that `function` returns the same bytes with 1, 2, 3 and 4 threads."""
    with num_threads(1):
        expected = [array.tobytes() for array in function()]
    for threads in (2, 3, 4):
        with num_threads(threads):
            assert [array.tobytes() for array in function()] == expected, f"{threads} threads differ from 1"


def guarded(array: Array, side: str) -> Array:
    """Return a copy of `array` that touches, at its end ("after") or its start ("before"), a page without any access.

    One byte read or written past that side is a segmentation fault. Linux only.
    """
    page, protect_none = mmap.PAGESIZE, 0
    pages = -(-array.nbytes // page) * page
    memory = mmap.mmap(-1, pages + 2 * page)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    libc = ctypes.CDLL(None, use_errno=True)
    for guard in (address, address + page + pages):
        if libc.mprotect(ctypes.c_void_p(guard), ctypes.c_size_t(page), protect_none):
            raise OSError(ctypes.get_errno(), "mprotect")
    offset = page if side == "before" else page + pages - array.nbytes
    copy = np.frombuffer(memory, array.dtype, array.size, offset).reshape(array.shape)
    copy[...] = array
    return copy


def onnx_node_cases(*operators: str) -> list[Any]:
    """Return ONNX's own node tests of these operators; none without the package.

    All are collected, as onnx collects but once in a process, and by one operator, if it is given one.
    """
    try:
        from onnx.backend.test.case.node import collect_testcases
    except ImportError:
        return []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cases = collect_testcases(None)
    return [case for case in cases if len(case.model.graph.node) == 1 and case.model.graph.node[0].op_type in operators]


def run_example(folder: Path, name: str, *options: str) -> str:
    """Return what an example prints, run in `folder`. It imports the cnnlib that is tested."""
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *options],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(cnnlib.__file__).parent.parent), "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        encoding="utf-8",
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def run_lecture(folder: Path, name: str, *options: str) -> str:
    """Return what a script of the lecture prints, after a look at its picture: a PNG with more on it than paper."""
    output = run_example(folder, f"lecture/{name}", "--save", "picture.png", *options)
    assert [path.name for path in folder.iterdir()] == ["picture.png"]
    with Image.open(folder / "picture.png") as picture:
        picture.load()
        assert picture.format == "PNG"
        pixels = np.asarray(picture.convert("L"))
    assert min(pixels.shape) > 400
    assert 0.02 < (pixels < 200).mean() < 0.9
    return output
