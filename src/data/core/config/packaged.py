"""Files that ship with the library, installed or in the source tree."""

from __future__ import annotations

import importlib
from importlib import resources
from pathlib import Path

RELATIVE = Path("config") / "data"

_ROOT = __name__.rsplit(".", 3)[0]
_CHECKOUT = Path(__file__).resolve().parents[4]
# The folders of these files in the source tree.
TREE = _CHECKOUT / RELATIVE
PAGES = _CHECKOUT / "docs"
EXAMPLE = _CHECKOUT / "examples" / "telegram_bot"


def packaged_path(name: str) -> Path:
    """Return the path of a packaged file in ``config/data``."""
    return _path("default_config", TREE, name)


def page_path(name: str) -> Path:
    """Return the path of a packaged file in ``docs``.

    Args:
        name: Path relative to ``docs``. It must come from a list in this package, never from user
            input.
    """
    return _path("documentation", PAGES, name)


def example_path(name: str) -> Path:
    """Return the path of a packaged file of the example bot; for ``name``, see :func:`page_path`."""
    return _path("example_bot", EXAMPLE, name)


def _path(package: str, folder: Path, name: str) -> Path:
    """Return a file's path: in ``package`` if installed from a wheel, otherwise in ``folder``."""
    try:
        # The package exists only in a wheel, where the folder is mapped onto it.
        importlib.import_module(f"{_ROOT}.{package}")
        path = Path(str(resources.files(f"{_ROOT}.{package}").joinpath(name)))
        if path.is_file():
            return path
    except ModuleNotFoundError:
        pass
    return folder / name


def is_packaged(path: Path, name: str) -> bool:
    """Return whether ``path`` is the packaged file ``name`` itself, in a source tree."""
    return path.resolve() == TREE / name


def rules_of_testnets() -> Path:
    """Return the path of the rules for test networks."""
    return packaged_path("testnet_rules.yaml")
