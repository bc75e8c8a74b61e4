"""Temporary packages that offer vendors through entry points, as if they were installed."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from src.data.core.config import offered
from src.data.core.vendors import foreign, fundamentals_table


class PackageFolder:
    """A folder on ``sys.path`` into which packages are put."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.modules: list[str] = []

    def put(
        self, module: str, code: str, offers: Mapping[str, str], package: str = "",
        more: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:  # fmt: skip
        """Install a module and the entry points of its package: vendors, then by group."""
        package = package or module.replace("_", "-")
        self.add(module, code)
        info = self.folder / f"{package.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        groups = {"onetape.providers": offers, **(more or {})}
        lines = [
            line
            for group, named in groups.items()
            for line in (f"[{group}]", *(f"{name} = {value}" for name, value in named.items()))
        ]
        (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
        forget()

    def add(self, module: str, code: str) -> None:
        """Put another module of a package there."""
        (self.folder / f"{module}.py").write_text(code, encoding="utf-8")
        self.modules.append(module)


def forget() -> None:
    """Let what is installed be looked up again."""
    offered.forget_offers()
    foreign.import_offer.cache_clear()
    fundamentals_table.table_of.cache_clear()


@contextmanager
def package_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PackageFolder]:
    """Offer a folder for packages; afterwards everything is as it was."""
    with monkeypatch.context() as patch:
        patch.syspath_prepend(str(folder))
        made = PackageFolder(folder)
        try:
            yield made
        finally:
            for module in made.modules:
                sys.modules.pop(module, None)
    forget()
