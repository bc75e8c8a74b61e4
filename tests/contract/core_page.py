"""The page ``docs/core.md``: the files that a question enters, in order, and those that none enters.

``python -m tests.contract.core_page > docs/core.md`` writes it anew; a test compares it with a run.
"""

from __future__ import annotations

import ast
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from tests.contract.source import PACKAGE, modules
from tests.contract.way import counted, is_core

_TOP = """\
# The core in one hour

Read these files in this order to follow a request through the library: from the argument to the socket,
and back from the file to the frame. Each line names a file and describes it. An hour is enough for the
descriptions and a few of the files: the first list alone has about 150 files with more than 40,000 lines.

```
python -m tests.contract.way          # the files and functions that each request enters, counted
python -m tests.contract.core_page    # this page
```

The files are in the order in which a first run uses them. The run makes five requests to a local server: a
share over a split, ten days of a coin's hourly bars, its last 50 hours, the hour that is still forming, and
three-hour bars. It makes them first with an empty cache, then in a new process with a full one. A test
repeats the run and compares it with this page.

## Files that a request uses
"""
_SECOND = """
## The second floor

None of the five requests uses the following files of the core. They are needed only for repairs,
other commands and other vendors, so skip them at first.
"""


def entered(folder: Path) -> list[str]:
    """Return the files that the questions enter, in the order of a run."""
    runs = list(counted(folder))
    return list(dict.fromkeys(path for *_, files in runs for path in files))


def page(entered_files: Iterable[str]) -> str:
    """Return the page."""
    core = {path: about for path, about in _abouts().items() if about}
    first = [path for path in entered_files if path in core]
    rest = sorted(set(core) - set(first))
    rows = [f"{number}. {_line(path, core[path])}" for number, path in enumerate(first, 1)]
    parts, package = [_TOP, *rows, _SECOND], ""
    for path in rest:
        if path.split("/")[1] != package:
            package = path.split("/")[1]
            parts.append(f"\n### {package}\n")
        parts.append(f"- {_line(path, core[path])}")
    return "\n".join(parts) + "\n"


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
