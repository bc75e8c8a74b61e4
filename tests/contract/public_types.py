"""The types of the public names: the imports under ``TYPE_CHECKING`` in the modules of the public list.

``python -m tests.contract.public_types`` writes them anew. A checker reads no list, so each name is
imported there as itself, which makes it one of the module's.
"""

from __future__ import annotations

import re
from pathlib import Path

from onetape.public import OF_DATA, PUBLIC, homes_of
from tests.contract.source import PACKAGE, ROOT

_MADE = "    # Made by `make lists`.\n"
_BLOCK = re.compile(rf"({re.escape(_MADE)})(?:    (?:from .+|    .+|\))\n|\n(?=    ))*")


def files() -> dict[Path, str]:
    """Return each file with such imports, and its text as it should be."""
    texts = {}
    for module in (*PUBLIC, "onetape.data"):
        path = ROOT.joinpath(*module.split("."))
        path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        path = PACKAGE / "__init__.py" if module == "onetape.data" else path
        if _MADE in (text := path.read_text("utf-8")):
            texts[path] = replaced(text, imports_of(module))
    return texts


def imports_of(module: str) -> str:
    """Return the import statements of a module, in the order of the linter."""
    names, start = _sources(module)
    below = [one.removeprefix(f"{module}.") for one in PUBLIC if one.rpartition(".")[0] == module]
    pairs = [(".", name) for name in below] + [(start + home, name) for name, home in names.items()]
    lines = [
        f"    from {home} import {name} as {name}\n" for home, name in sorted(pairs, key=_order)
    ]
    if module == "onetape":
        lines.append("    from .errors import *  # noqa: F403 - the root has all of them\n")
    wrapped = r"import (\n        \1,\n    )\n"
    return "".join(
        re.sub(r"import (.+)\n", wrapped, line) if len(line) > 101 else line for line in lines
    )


def _sources(module: str) -> tuple[dict[str, str], str]:
    """Return the home of each name that a module imports, and the start of its relative imports."""
    if module == "onetape":
        return {name: home for name, home in OF_DATA.items() if home != "errors"}, ".data."
    if module == "onetape.data":
        return OF_DATA, "."
    is_package = any(one.startswith(f"{module}.") for one in PUBLIC)
    return homes_of(module), "." * (module.count(".") + is_package) + "data."


def _order(pair: tuple[str, str]) -> tuple[int, str, int, str]:
    home, name = pair
    kind = 0 if name.isupper() else 1 if name[0].isupper() else 2
    return -(len(home) - len(home.lstrip("."))), home, kind, name.lower()


def replaced(text: str, imports: str) -> str:
    """Return the text of a file with other imports after the mark."""
    return _BLOCK.sub(lambda at: at[1] + imports, text)


def generated(text: str) -> set[int]:
    """Return the numbers of the lines of a file that ``make lists`` writes."""
    blocks = ((text.count("\n", 0, at.start()), at[0].count("\n")) for at in _BLOCK.finditer(text))
    return {n + 1 for first, count in blocks for n in range(first, first + count)}


def main() -> None:
    """Write the files."""
    for path, text in files().items():
        path.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
