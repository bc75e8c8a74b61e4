"""Packages with vendors that exist only in a test, installed as far as importlib can tell."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from src.data.config import offered
from src.data.vendors import factory


class Shelf:
    """A folder on ``sys.path`` into which packages are put."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.modules: list[str] = []

    def put(self, module: str, code: str, offers: dict[str, str], package: str = "") -> None:
        """Install a module and the entry points of its package."""
        package = package or module.replace("_", "-")
        (self.folder / f"{module}.py").write_text(code, encoding="utf-8")
        info = self.folder / f"{package.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        lines = ["[onetape.providers]", *(f"{name} = {value}" for name, value in offers.items())]
        (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
        self.modules.append(module)
        forget()


def forget() -> None:
    """Let what is installed be looked up again."""
    offered.offers.cache_clear()
    factory._loaded.cache_clear()


@contextmanager
def shelf(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shelf]:
    """Offer a folder for packages; afterwards everything is as it was."""
    with monkeypatch.context() as patch:
        patch.syspath_prepend(str(folder))
        made = Shelf(folder)
        try:
            yield made
        finally:
            for module in made.modules:
                sys.modules.pop(module, None)
    forget()
