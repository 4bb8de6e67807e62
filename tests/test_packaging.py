"""What is shipped says the same everywhere: versions, Pythons, packages, types, commands."""

from __future__ import annotations

import ast
import inspect
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import cnnlib
from cnnlib import _kernels

tomllib = pytest.importorskip("tomllib")  # Python 3.11
ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PYTHONS = ["3.10", "3.11", "3.12", "3.13", "3.14"]


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_every_place_names_the_same_pythons() -> None:
    classifiers = [
        re.fullmatch(r"Programming Language :: Python :: (3\.\d+)", c) for c in PROJECT["project"]["classifiers"]
    ]
    assert [match[1] for match in classifiers if match] == PYTHONS
    assert PROJECT["project"]["requires-python"] == f">={PYTHONS[0]}"
    assert PROJECT["tool"]["cibuildwheel"]["build"].split() == [f"cp{name.replace('.', '')}-*" for name in PYTHONS]
    assert f"Python {PYTHONS[0]} to {PYTHONS[-1]}" in text("README.md")
    assert f"CPython {PYTHONS[0]} to {PYTHONS[-1]}" in text("CHANGELOG.md")
    assert PROJECT["tool"]["ruff"]["target-version"] == "py" + PYTHONS[0].replace(".", "")


def test_the_version_stands_in_one_place() -> None:
    version = cnnlib.__version__
    assert re.search(r"^version: (.*)$", text("CITATION.cff"), flags=re.M)[1] == version  # type: ignore[index]
    assert re.search(rf"^## (Unreleased|\[?{re.escape(version)}\b)", text("CHANGELOG.md"), flags=re.M)
    for name in ("pyproject.toml", "setup.py", "README.md", "cnnlib/__init__.py"):
        assert version not in text(name), name


def test_every_package_is_shipped() -> None:
    packages = {
        path.parent.relative_to(ROOT).as_posix().replace("/", ".") for path in ROOT.glob("cnnlib/**/__init__.py")
    }
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == packages
    shipped = PROJECT["tool"]["setuptools"]["package-data"]["cnnlib"]
    assert {"py.typed", "*.pyi"} <= set(shipped)
    assert (ROOT / "cnnlib" / "py.typed").exists()


def test_what_runs_is_three_packages() -> None:
    assert [re.match(r"\w+", need)[0] for need in PROJECT["project"]["dependencies"]] == [
        "numpy",
        "safetensors",
        "tqdm",
    ]  # type: ignore[index]


def test_the_five_verbs_are_commands() -> None:
    verbs = re.findall(r"^\| ([a-z ]+) \| `([^`]+)`", text("CONTRIBUTING.md"), flags=re.M)
    assert [verb for verb, _ in verbs] == ["set up", "build", "test", "lint", "bench"]
    targets = set(re.findall(r"^(\w+):$", text("Makefile"), flags=re.M))
    for verb, command in verbs:
        assert command.endswith(f"make {verb.replace(' ', '')}")
        assert verb.replace(" ", "") in targets


def test_commits_are_checked_as_lint_checks() -> None:
    lint = re.search(r"^lint:\n((?:\t.*\n)+)", text("Makefile"), flags=re.M)
    assert lint
    hooks = re.findall(r"^ +entry: (.*)$", text(".pre-commit-config.yaml"), flags=re.M)
    assert [line.strip().removesuffix(" .") for line in lint[1].splitlines()] == hooks


@pytest.mark.parametrize("path", sorted(ROOT.glob(".github/workflows/*.yml")), ids=lambda path: path.name)
def test_workflows_can_be_read(path: Path) -> None:
    yaml = pytest.importorskip("yaml")
    workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        assert all(("uses" in step) != ("run" in step) for step in job["steps"])
        assert set(job.get("needs", ())) <= set(workflow["jobs"]) or job["needs"] in workflow["jobs"]


def stubs() -> dict[str, ast.FunctionDef]:
    tree = ast.parse(text("cnnlib/_kernels.pyi"))
    return {
        node.name: node for node in tree.body if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")
    }


def kernels() -> dict[str, Any]:
    """The binding's own functions; what it imports is elsewhere."""
    found = {name: getattr(_kernels, name) for name in dir(_kernels) if not name.startswith("_")}
    return {name: value for name, value in found.items() if callable(value) and not inspect.isclass(value)}


def test_stubs_name_every_kernel_and_constant() -> None:
    assert set(stubs()) == set(kernels())
    tree = ast.parse(text("cnnlib/_kernels.pyi"))
    told = {
        node.target.id for node in tree.body if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }
    assert told == {name for name in dir(_kernels) if isinstance(getattr(_kernels, name), int)}


@pytest.mark.parametrize("name", sorted(kernels()))
def test_stubs_have_the_arguments_of_the_binding(name: str) -> None:
    node, function = stubs()[name], kernels()[name]
    signature = inspect.signature(function)
    assert [arg.arg for arg in node.args.args] == list(signature.parameters)
    defaults = [p.default for p in signature.parameters.values() if p.default is not inspect.Parameter.empty]
    assert [ast.literal_eval(default) for default in node.args.defaults] == defaults
    assert [ast.unparse(decorator) for decorator in node.decorator_list] == ["_fused"] * hasattr(
        function, "__signatures__"
    )


def test_a_users_types_are_checked() -> None:
    if find_spec("mypy") is None:
        pytest.skip("mypy is not installed")
    # An installed package, as a type checker sees it, whether or not this one is installed.
    environment = {**os.environ, "MYPYPATH": str(Path(cnnlib.__file__).parent.parent)}
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--follow-imports=silent"]
    script = ROOT / "tests" / "typed_user.py"
    result = subprocess.run(
        [*command, script], capture_output=True, text=True, env=environment, timeout=300, check=False
    )
    assert result.stdout.startswith("Success"), result.stdout + result.stderr
