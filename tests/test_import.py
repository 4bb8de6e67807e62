"""Importing cnnlib is quick, and what it promises is there and documented."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import get_origin

import pytest

import cnnlib

# What only some users need, and what costs more than a millisecond or two: imported on use.
HEAVY = {
    "PIL", "asyncio", "concurrent", "email", "gzip", "hashlib", "http", "joblib", "matplotlib", "multiprocessing",
    "onnx", "onnxruntime", "pickle", "safetensors", "scipy", "secrets", "shutil", "sklearn", "socket", "ssl",
    "subprocess", "tempfile", "torch", "tqdm", "unittest", "urllib.request",
}  # fmt: skip


def modules() -> list[str]:
    """Every module with public names; scripts and the module that runs the command line have none."""
    found = [info.name for info in pkgutil.walk_packages(cnnlib.__path__, "cnnlib.")]
    return ["cnnlib", *(name for name in found if not name.endswith(("__main__", "make_sample")))]


@pytest.fixture(params=[name for name in modules() if "._" not in name])
def module(request: pytest.FixtureRequest) -> ModuleType:
    if needs := {"cnnlib.sklearn": "sklearn", "cnnlib.onnx.backend": "onnx"}.get(request.param):
        pytest.importorskip(needs)
    return importlib.import_module(request.param)


def public(module: ModuleType) -> list[str]:
    return list(getattr(module, "__all__", ()))


def test_import_brings_little() -> None:
    code = "import sys, cnnlib; print(*(name for name in sys.modules if name.startswith('cnnlib.')))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert set(result.stdout.split()) == {
        f"cnnlib.{name}" for name in ("_kernels", "_version", "config", "errors", "threads")
    }


def test_names_are_what_type_checkers_are_told() -> None:
    stub = ast.parse(Path(cnnlib.__file__).with_suffix(".pyi").read_text(encoding="utf-8"))
    imported = {
        alias.name: f"{node.module}.{alias.name}" if node.module == "cnnlib" else node.module
        for node in stub.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert set(imported) == set(cnnlib.__all__)
    for name, module in imported.items():
        home = importlib.import_module(str(module))
        assert getattr(cnnlib, name) is (home if module == f"cnnlib.{name}" else getattr(home, name)), name
    with pytest.raises(AttributeError, match="no attribute 'Trainr'"):
        cnnlib.Trainr  # type: ignore[attr-defined]  # noqa: B018


def test_using_all_of_it_brings_nothing_heavy() -> None:
    # NumPy brings what it brings, more in some versions than in others.
    use = "[getattr(cnnlib, name) for name in cnnlib.__all__]"
    code = f"import sys, numpy; before = set(sys.modules); import cnnlib; {use}; print(*set(sys.modules) - before)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    brought = set(result.stdout.split())
    assert "cnnlib.model" in brought
    assert {name for name in brought if name in HEAVY or name.partition(".")[0] in HEAVY} == set()
    assert "numpy.random" not in brought


def test_import_says_nothing() -> None:
    code = "import warnings; warnings.simplefilter('error'); import cnnlib"
    result = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, timeout=60, check=True)
    assert (result.stdout, result.stderr) == (b"", b"")


def test_public_names_exist_once(module: ModuleType) -> None:
    names = public(module)
    assert len(set(names)) == len(names)
    assert [name for name in names if not hasattr(module, name)] == []


def test_public_names_are_documented(module: ModuleType) -> None:
    assert module.__doc__, module.__name__
    missing = []
    for name in public(module):
        value = getattr(module, name)
        # An alias such as Callable[[float], float] passes for a class in Python 3.10.
        if get_origin(value) is not None or not (inspect.isclass(value) or inspect.isfunction(value)):
            continue
        if not value.__doc__ or value.__doc__.startswith(f"{name}("):  # what a dataclass is given
            missing.append(name)
        for attribute, member in vars(value).items() if inspect.isclass(value) else ():
            described = inspect.isfunction(member) or isinstance(member, (property, classmethod, staticmethod))
            described &= attribute not in getattr(value, "__dataclass_fields__", ())  # a default, no method
            # What a subclass overrides is documented where it is first defined.
            if described and not attribute.startswith("_") and not inspect.getdoc(getattr(value, attribute)):
                missing.append(f"{name}.{attribute}")
    assert missing == []


def test_the_vocabulary_is_there() -> None:
    names = {
        "Add", "Adam", "AdamW", "AvgPool2d", "Concat", "Conv2d", "CosineLR", "CrossEntropyLoss", "Dropout", "Flatten",
        "Input", "Linear", "MSELoss", "MaxPool2d", "Model", "ReLU", "SGD", "Sequential", "Softmax", "StepLR", "Trainer",
        "datasets", "errors", "functional", "get_num_threads", "load", "models", "set_num_threads", "show_config",
    }  # fmt: skip
    assert names <= set(cnnlib.__all__)
    assert {"mnist", "fashion_mnist", "mnist_sample"} <= set(dir(cnnlib.datasets))
    assert importlib.import_module("cnnlib.reference")
