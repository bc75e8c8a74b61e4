"""Scripts and style sheets for pages, stored as files in this package."""

from __future__ import annotations

from functools import cache
from importlib.resources import files


@cache
def packaged(name: str) -> str:
    """Return the text of a file in this package."""
    return files(__package__).joinpath(name).read_text(encoding="utf-8")
