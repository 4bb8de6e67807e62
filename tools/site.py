"""What mkdocs.yml needs beside its plugins: docstrings as Markdown, notebooks and linked sources as pages.

Docstrings are plain text with a little reStructuredText; `Docstrings`, an extension of Griffe, turns it into Markdown.
The functions on_… are MkDocs' hooks: notebooks are run and shown with what came out, and links that lead out of docs/
lead to pages with the sources that they name.
"""

from __future__ import annotations

import importlib
import inspect
import os
import re
from pathlib import Path
from typing import Any

import griffe
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
OUTWARD = re.compile(r"\]\(\.\./((?:examples|bench|tests|tools|cnnlib)[^)#\s]*)\)")


def as_markdown(text: str, parameters: list[str]) -> str:
    """Return a docstring as Markdown: examples and formulas fenced, roles as code, a parameter's words as an item."""
    text = re.sub(r":\w+:`~?([^`]+)`", r"`\1`", inspect.cleandoc(text))
    done: list[str] = []
    fence, item = "", False  # what closes the block that is open; whether the lines belong to a parameter
    for line in text.split("\n"):
        if fence and (not line if fence.startswith("`") else line and not line.startswith(" ")):
            done += ["```", ""] if done[-1] else [*done[-1:], "```", ""][1:]
            fence = ""
        if not fence and line.startswith(">>>"):
            done += ["", "```pycon"]
            fence = "`"
        names = re.match(r"((?:[a-z]\w*, )*[a-z]\w*): (?=\S)", line)
        starts = item or not done or not done[-1]  # a paragraph, or what is said of the next parameter
        if not fence and names and (starts or set(names[1].split(", ")) & set(parameters)):
            described = ", ".join(f"`{name}`" for name in names[1].split(", "))
            done += ["", f"- {described}: {line[names.end() :]}"]
            item = True
        elif item and line and not fence:
            done.append("    " + line)
        elif line.endswith("::") and not fence:
            done += [line[:-1], "", "```text"]
            fence, item = " ", False
        else:
            item = item and bool(line)
            done.append(line.removeprefix("    ") if fence == " " else line)
    return "\n".join([*done, "```"] if fence else done)


class Docstrings(griffe.Extension):
    """Turns every docstring into Markdown before it is rendered."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Griffe has read a module, a class, a function or an attribute."""
        if obj.docstring:
            init = obj.members.get("__init__") if obj.is_class else obj
            parameters = [parameter.name for parameter in getattr(init, "parameters", ())]
            obj.docstring.value = as_markdown(obj.docstring.value, parameters)
        elif obj.is_attribute and obj.parent.is_module and not obj.name.startswith("_"):  # public, if in __all__
            kind = "A constant." if obj.name.isupper() else "What annotations mean by this name."
            obj.docstring = griffe.Docstring(kind, parent=obj)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add a page for each notebook, run, and for each source that a page links."""
    for file in list(files):
        if file.src_path.endswith(".ipynb"):
            files.remove(file)
            for name, content in run_notebook(Path(file.abs_src_path)).items():
                where = Path(file.src_path).parent / name
                files.append(File.generated(config, where.as_posix(), content=content))
    pages = [Path(file.abs_src_path) for file in files.documentation_pages() if file.abs_src_path]
    for source in sorted({found for page in pages for found in OUTWARD.findall(page.read_text(encoding="utf-8"))}):
        files.append(File.generated(config, f"source/{source.rstrip('/')}.md", content=source_page(ROOT / source)))
    return files


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Name the page that a notebook becomes where the navigation names the notebook."""

    def renamed(entry: Any) -> Any:
        if isinstance(entry, str):
            return entry.replace(".ipynb", ".md")
        if isinstance(entry, dict):
            return {title: renamed(what) for title, what in entry.items()}
        return [renamed(part) for part in entry]

    config["nav"] = renamed(config["nav"])
    return config


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead links that leave docs/ to pages made of what they name; list the public names where they are asked for."""
    markdown = re.sub(r"\]\((notebooks/\w+)\.ipynb\)", r"](\1.md)", markdown)
    markdown = OUTWARD.sub(lambda found: f"](source/{found[1].rstrip('/')}.md)", markdown)
    return markdown.replace("<!-- public names -->", public_names()) if "<!-- public" in markdown else markdown


def public_names() -> str:
    """Return a table of the names of cnnlib, each with a link and the first sentence of its docstring."""
    import cnnlib

    rows = ["| name | |", "|---|---|"]
    for name in sorted(set(cnnlib.__all__) - {"__version__"}, key=str.lower):
        value = getattr(cnnlib, name)
        where = value.__name__ if inspect.ismodule(value) else f"{home(value.__module__, name)}.{name}"
        first = as_markdown(value.__doc__ or "", []).split("\n")[0].replace("|", "\\|")
        rows.append(f"| [`{name}`][{where}] | {first} |")
    return "\n".join(rows)


def home(module: str, name: str) -> str:
    """Return the shortest name of a module that has `name` among its public names."""
    parts = module.split(".")
    modules = (".".join(parts[:length]) for length in range(2, len(parts) + 1))
    return next((each for each in modules if name in getattr(importlib.import_module(each), "__all__", ())), module)


def source_page(path: Path) -> str:
    """Return a page that shows a file, or what is in a folder."""
    title = f"# `{path.relative_to(ROOT).as_posix()}`\n\n"
    if path.is_dir():
        return title + "\n".join(f"- `{each.name}`" for each in sorted(path.glob("*.*")))
    text = path.read_text(encoding="utf-8")
    return title + (text if path.suffix == ".md" else f"```{path.suffix.removeprefix('.')}\n{text}\n```\n")


def run_notebook(path: Path) -> dict[str, str | bytes]:
    """Run a notebook; return the page and the pictures that came out, by name."""
    import nbformat
    from nbclient import NotebookClient
    from nbconvert import MarkdownExporter

    os.environ.setdefault("PYTHONPATH", str(ROOT))
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(ROOT)}}).execute()
    resources = {"unique_key": path.stem, "output_files_dir": "."}
    text, made = MarkdownExporter().from_notebook_node(notebook, resources)
    return {f"{path.stem}.md": text, **{Path(name).name: content for name, content in made["outputs"].items()}}
