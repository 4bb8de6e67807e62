"""The site: every page's code runs, every public name is in the reference, and it builds without a warning."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import cnnlib
from tests.helpers import run_example

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
REFERENCE = "\n".join(path.read_text(encoding="utf-8") for path in sorted(DOCS.glob("reference/*.md")))
MODULES = re.findall(r"^::: (cnnlib\.\w+)$", REFERENCE, flags=re.M)
NEEDS = {"onnx.md": ("onnx", "onnxruntime"), "from-scikit-learn.md": ("sklearn",), "scale-out.md": ("mpi4py",)}
GUIDES = ["index.md", "training.md", "saving.md", "speed.md", *NEEDS]


@pytest.mark.parametrize("guide", GUIDES)
def test_the_guides_code_runs(guide: str, tmp_path: Path) -> None:
    for package in NEEDS.get(guide, ()):
        pytest.importorskip(package)
    blocks = re.findall(r"^```python\n(.*?)^```", (DOCS / guide).read_text(encoding="utf-8"), flags=re.M | re.S)
    script = tmp_path / "guide.py"
    script.write_text("\n".join(blocks), encoding="utf-8")
    said = run_example(tmp_path, str(script))
    assert said
    assert "False" not in said


@pytest.mark.parametrize("path", sorted(DOCS.glob("notebooks/*.ipynb")), ids=lambda path: path.name)
def test_notebooks_are_kept_without_what_came_out(path: Path) -> None:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    assert len(cells) > 8
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)


def test_every_page_is_in_the_navigation() -> None:
    nav = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").split("\nnav:", 1)[1]
    named = set(re.findall(r": ([\w/-]+\.(?:md|ipynb))$", nav, flags=re.M))
    assert named == {
        path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.*") if path.suffix in {".md", ".ipynb"}
    }


def test_every_public_module_has_a_page() -> None:
    modules = {name for name in cnnlib.__all__ if isinstance(getattr(cnnlib, name), ModuleType)}
    homes = {re.sub(r"^cnnlib\.", "", name) for name in MODULES}
    assert modules | {"layers", "model", "graph", "trainer", "serialize", "sklearn"} <= homes
    assert len(MODULES) == len(set(MODULES))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if any(importlib.util.find_spec(name) is None for name in ("material", "mkdocstrings", "nbconvert", "ipykernel")):
        pytest.skip("the extra `docs` is not installed")
    folder = tmp_path_factory.mktemp("site")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NO_MKDOCS_2_WARNING": "1"}
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def test_every_public_name_is_in_the_reference(site: Path) -> None:
    pages = "".join(path.read_text(encoding="utf-8") for path in site.glob("reference/**/*.html"))
    anchors = set(re.findall(r'id="(cnnlib[\w.]*)"', pages))
    missing = [
        f"{name}.{public}"
        for name in MODULES
        for public in importlib.import_module(name).__all__
        if not {f"{name}.{public}", f"{name}.{public}.{public}"} & anchors  # or in the module of the same name
    ]
    assert missing == []
    assert set(re.findall(r"<code>(\w+)</code></a></td>", (site / "reference" / "index.html").read_text())) >= {
        name for name in cnnlib.__all__ if name != "__version__"
    }


def test_notebooks_show_their_pictures(site: Path) -> None:
    for path in DOCS.glob("notebooks/*.ipynb"):
        page = (site / "notebooks" / path.stem / "index.html").read_text(encoding="utf-8")
        pictures = re.findall(r'<img[^>]* src="([^"]+)"', page)
        assert len(pictures) >= 2
        assert all((site / "notebooks" / path.stem / picture).resolve().exists() for picture in pictures)
        assert "Traceback" not in page


def test_docstrings_have_become_markdown(site: Path) -> None:
    page = (site / "reference" / "layers" / "index.html").read_text(encoding="utf-8")
    assert "&gt;&gt;&gt;" not in re.sub(r"<pre.*?</pre>", "", page, flags=re.S)  # examples stand in blocks of code
    assert ":class:" not in page
    assert "::</p>" not in page
