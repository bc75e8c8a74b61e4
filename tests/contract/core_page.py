"""The files of the core: those that decide, the others that a request uses, and the rest.

``python -m tests.contract.core_page`` prints the list, as Markdown.
"""

from __future__ import annotations

import ast
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from tests.contract.source import PACKAGE, modules
from tests.contract.way import counted, is_core

# The files that decide something, in the order of a request: from the argument to the socket and back.
SPINE = (
    "core/bars/client.py",
    "core/bars/request.py",
    "core/bars/service.py",
    "core/bars/lookup.py",
    "core/bars/selection/lanes.py",
    "core/bars/validity.py",
    "core/bars/fetch/miss.py",
    "core/bars/selection/candidates.py",
    "core/bars/fetch/lane.py",
    "core/bars/fetch/plan.py",
    "core/bars/fetch/fetcher.py",
    "core/bars/fetch/question.py",
    "core/vendors/paging.py",
    "core/net/http/sender.py",
    "core/net/limits/limiter.py",
    "core/bars/ingest/take.py",
    "core/bars/ingest/draft.py",
    "core/bars/ingest/receive.py",
    "core/bars/sorted_answer.py",
    "core/bars/ingest/compare.py",
    "core/bars/ingest/judge.py",
    "core/bars/ingest/commit.py",
    "core/cache/store.py",
    "core/cache/write/commit.py",
    "core/cache/write/year_commit.py",
    "core/cache/write/year_writer.py",
    "core/cache/format/documents.py",
    "core/bars/answer/reader.py",
    "core/bars/answer/adjust.py",
    "core/bars/answer/answer.py",
)
_TOP = """\
# The files of the core

Read the files of the first list in their order to follow a request through the library: from the argument to
the socket, and back from the file to the frame. Each line names a file and says what it decides or does.
For the same way in words, read *The path of a request* in docs/architecture.md;
`python -m tests.contract.way` counts the files and functions that each request enters.

## The files that decide
"""
_OTHERS = """
## The other files that a request uses

These are the files that a run with five requests to a local server uses, beside those above: a share over
a split, ten days of a coin's hourly bars, its last 50 hours, the hour that is still forming, and three-hour
bars. The run makes them first with an empty cache, then in a new process with a full one.
Look a file up here if one of the list above uses it."""
_SECOND = """
## The second floor

None of the five requests uses the following files of the core. They are needed only for repairs,
other commands and other vendors, so skip them at first."""


def entered(folder: Path) -> list[str]:
    """Return the files that the questions enter, in the order of a run."""
    runs = list(counted(folder))
    return list(dict.fromkeys(path for *_, files in runs for path in files))


def page(entered_files: Iterable[str]) -> str:
    """Return the page."""
    core = {path: about for path, about in _abouts().items() if about}
    first = {path for path in entered_files if path in core}
    spine = [f"{number}. {_line(path, core[path])}" for number, path in enumerate(SPINE, 1)]
    others = _by_package(first - set(SPINE), core)
    rest = _by_package(set(core) - first - set(SPINE), core)
    return "\n".join([_TOP, *spine, _OTHERS, *others, _SECOND, *rest]) + "\n"


def _by_package(paths: Iterable[str], core: Mapping[str, str]) -> Iterable[str]:
    package = ""
    for path in sorted(paths):
        if path.split("/")[1] != package:
            package = path.split("/")[1]
            yield f"\n### {package}\n"
        yield f"- {_line(path, core[path])}"


def _line(path: str, about: str) -> str:
    return f"`{path}`: {about}"


def _abouts() -> Mapping[str, str]:
    """Return the first sentence of each core module by its path; empty for one without code."""
    return {
        path.relative_to(PACKAGE).as_posix(): _first_sentence(module.tree)
        for module in modules()
        if is_core(module)
        for path in (_path(module.name, module.is_package),)
    }


def _path(name: str, is_package: bool) -> Path:
    path = PACKAGE.joinpath(*name.split("."))
    return path / "__init__.py" if is_package else path.with_suffix(".py")


def _first_sentence(tree: ast.Module) -> str:
    if len(tree.body) < 2:
        return ""
    text = " ".join((ast.get_docstring(tree) or "").split("\n\n")[0].split())
    return text.replace(":class:", "").replace(":func:", "").replace("`~", "`").replace("``", "`")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        sys.stdout.write(page(entered(Path(place))))
