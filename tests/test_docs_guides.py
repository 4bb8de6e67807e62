"""The guides for those who come from elsewhere: their code runs, and their tables name what is there."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path
from typing import Any

import pytest

import cnnlib
from cnnlib.optim import Optimizer
from tests.helpers import run_example

DOCS = Path(__file__).resolve().parent.parent / "docs"
# What a table's words stand for.
OBJECTS: dict[str, Any] = {
    "layer": cnnlib.Layer,
    "loss": cnnlib.losses.Loss,
    "model": cnnlib.Model,
    "optimizer": Optimizer,
    "parameter": cnnlib.Parameter,
    "trainer": cnnlib.Trainer,
}


def blocks(guide: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", (DOCS / guide).read_text(encoding="utf-8"), flags=re.M | re.S)


def rows(guide: str) -> list[list[str]]:
    """The cells of all tables, without their heads."""
    text = (DOCS / guide).read_text(encoding="utf-8")
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("| ")
    ]
    return [row for row in cells if row[1] != "cnnlib"]


def found(dotted: str) -> Any:
    """What a dotted name means, or AttributeError."""
    first, *rest = dotted.split(".")
    value = OBJECTS.get(first) or getattr(cnnlib, first)
    for part in rest:
        value = getattr(value, part)
    return value


def test_the_guide_for_keras_runs(tmp_path: Path) -> None:
    script = tmp_path / "guide.py"
    script.write_text("\n".join(blocks("keras.md")), encoding="utf-8")
    size, accuracy, shape = run_example(tmp_path, str(script)).splitlines()
    assert "parameters" in size
    assert float(accuracy) > 0.9
    assert shape == "(2, 10)"


def test_the_guide_for_pytorch_runs(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    script = tmp_path / "guide.py"
    script.write_text("\n".join(blocks("pytorch.md")), encoding="utf-8")
    accuracy, name, matched = run_example(tmp_path, str(script)).splitlines()
    assert float(accuracy) > 0.9
    assert name == "layer1.conv1.weight"
    assert matched == "<All keys matched successfully>"


@pytest.mark.parametrize("guide", ["keras.md", "pytorch.md"])
def test_tables_name_what_cnnlib_has(guide: str) -> None:
    """Every name in the second column, every setting in its parentheses, every public name in the third."""
    wrong, count = [], 0
    for _, ours, differences in rows(guide):
        for span in re.findall(r"`([^`]+)`", ours):
            called = re.fullmatch(r"([A-Za-z_.0-9]+)(?:\((.*)\))?", span)
            if called is None or span == "len":
                assert span in ("[indices]", "rng=", "len"), span
                continue
            try:
                target = found(called[1])
                count += 1
            except AttributeError as error:
                wrong.append(f"{span}: {error}")
                continue
            for setting in re.findall(r"(\w+)=", called[2] or ""):
                if setting not in inspect.signature(target).parameters:
                    wrong.append(f"{span}: no setting {setting}")
        wrong += [name for name in re.findall(r"`([A-Z]\w+|[a-z]+\.\w+)\(?", differences) if not _there(name)]
    assert not wrong
    assert count > 40


def _there(name: str) -> bool:
    try:
        found(name)
    except AttributeError:
        return False
    return True


def test_the_table_names_what_pytorch_has() -> None:
    torch = pytest.importorskip("torch")
    importlib.import_module("torch.optim.lr_scheduler")
    homes = {"nn": torch.nn, "optim": torch.optim, "lr_scheduler": torch.optim.lr_scheduler, "torch": torch}
    names = re.findall(r"`((?:nn|optim|lr_scheduler|torch)(?:\.\w+)+)", " ".join(row[0] for row in rows("pytorch.md")))
    assert len(names) > 20
    for name in names:
        first, *rest = name.split(".")
        value: Any = homes[first]
        for part in rest:
            value = getattr(value, part)


@pytest.mark.parametrize("guide", ["keras.md", "pytorch.md"])
def test_links_lead_somewhere(guide: str) -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", (DOCS / guide).read_text(encoding="utf-8"))
    assert [link for link in links if not (DOCS / link).exists()] == []
