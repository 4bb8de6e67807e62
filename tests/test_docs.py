"""The documents name every row and script, and nothing that is not there; every layer's docstring teaches its layer."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import cnnlib
from cnnlib.layers import registered
from cnnlib.selftest.promises import PROMISES

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
LECTURE = (DOCS / "lecture.md").read_text(encoding="utf-8")
PICTURES = re.findall(r"!\[[^]]*\]\(([^)]+)\)", LECTURE)


def public(name: str) -> bool:
    """Whether `name`, which may be dotted, is reached from what `import cnnlib` offers."""
    first, *rest = name.split(".")
    if first not in cnnlib.__all__:
        return False
    found = getattr(cnnlib, first)
    for part in rest:
        if not hasattr(found, part):
            return False
        found = getattr(found, part)
    return True


def test_every_row_of_the_lecture_is_explained() -> None:
    named = set(re.findall(r"\bL\d\d\b", LECTURE))
    for first, last in re.findall(r"\bL(\d\d) to L(\d\d)\b", LECTURE.split("## 1.", 1)[1]):
        named |= {f"L{row:02}" for row in range(int(first), int(last) + 1)}
    rows = {f"L{row:02}" for row in range(1, 44)}
    assert named == rows
    in_tests = (ROOT / "tests" / "test_lecture.py").read_text(encoding="utf-8")
    assert set(re.findall(r"^def test_(L\d\d)_", in_tests, flags=re.M)) == rows


def test_every_script_of_the_lecture_is_linked() -> None:
    scripts = {path.name for path in (ROOT / "examples" / "lecture").glob("*.py")} - {"common.py"}
    assert set(re.findall(r"\]\(\.\./examples/lecture/(\w+\.py)\)", LECTURE)) == scripts
    assert set(re.findall(r"examples/lecture/(\w+\.py)", LECTURE)) == scripts


def test_every_picture_is_there_and_small() -> None:
    pictures = {path.name: path.stat().st_size for path in (DOCS / "pictures").iterdir()}
    assert sorted(PICTURES) == sorted(f"pictures/{name}" for name in pictures)
    assert max(pictures.values()) < 60_000
    assert sum(pictures.values()) < 700_000


@pytest.mark.parametrize("picture", PICTURES)
def test_every_picture_has_the_command_that_makes_it(picture: str) -> None:
    before = LECTURE[: LECTURE.index(f"]({picture})")]
    commands = re.findall(r"^`python examples/lecture/(\w+)\.py( --full)?`$", before, flags=re.M)
    script, full = commands[-1]
    assert Path(picture).stem == script + full.replace(" --", "_")


@pytest.mark.parametrize(
    "document", [ROOT / "README.md", DOCS / "architecture.md", DOCS / "lecture.md"], ids=lambda path: path.name
)
def test_links_to_files_lead_somewhere(document: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", document.read_text(encoding="utf-8"))
    assert len(links) >= 3
    assert [link for link in links if not (document.parent / link).exists()] == []


def test_classes_in_backticks_are_public_names() -> None:
    spans = " ".join(re.findall(r"`(?!python )([^`\n]+)`", LECTURE))
    names = set(re.findall(r"(?<![\w.])(?:[a-z]+\.)*[A-Z]\w+(?:\.\w+)*", spans)) - {"True", "False", "None"}
    assert len(names) > 25
    assert [name for name in sorted(names) if not public(name)] == []


def test_functions_in_backticks_are_public_names() -> None:
    modules = "|".join(name for name in cnnlib.__all__ if name.islower())
    names = set(re.findall(rf"`((?:{modules})\.\w+)[^`\n]*`", LECTURE))
    assert len(names) > 10
    assert [name for name in sorted(names) if not public(name)] == []


@pytest.mark.parametrize(
    "name", [name for name, layer in registered().items() if layer.__module__.startswith("cnnlib")]
)
def test_a_layers_docstring_teaches_it(name: str) -> None:
    doc = registered()[name].__doc__
    assert doc is not None
    for part in ("Backward", "∂J/∂", "nput", "utput", "Saved for backward: ", ">>>"):
        assert part in doc, f"{name}: the docstring lacks {part!r}"
    text, example = doc.split(">>>", 1)
    assert " = " in text, f"{name}: the docstring lacks the formula"
    assert ".forward(" in example, f"{name}: no forward pass is shown"
    assert ".backward(" in example, f"{name}: no backward pass is shown"


def test_every_promise_names_tests_that_are_there() -> None:
    text = (DOCS / "guarantees.md").read_text(encoding="utf-8")
    file = ""
    found = 0
    for name, test in re.findall(r"(test_\w+)\.py|::(test_\w+)", text):
        file = name or file
        path = ROOT / "tests" / f"{file}.py"
        assert path.exists(), file
        assert not test or f"def {test}(" in path.read_text(encoding="utf-8"), f"{file}: {test}"
        found += 1
    assert found > 25
    assert text.count("| ✓ ") == len(PROMISES)


def test_the_code_of_the_guide_to_data_runs() -> None:
    blocks = re.findall(r"^```python\n(.*?)^```$", (DOCS / "data.md").read_text(encoding="utf-8"), flags=re.M | re.S)
    names: dict[str, object] = {}
    assert len(blocks) >= 5
    for block in blocks:
        exec(block, names)
