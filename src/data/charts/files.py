"""Scripts and style sheets of pages, which are files of this package."""

from __future__ import annotations

from functools import cache
from importlib.resources import files


@cache
def packaged(name: str) -> str:
    """Return the text of a file of this package."""
    return files(__package__).joinpath(name).read_text(encoding="utf-8")
