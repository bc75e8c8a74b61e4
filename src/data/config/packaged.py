"""Files that come with the library, installed or in the source tree."""

from __future__ import annotations

import importlib
from importlib import resources
from pathlib import Path

RELATIVE = Path("config") / "data"

_PACKAGE = f"{__name__.rsplit('.', 2)[0]}.default_config"
# The folder of these files in the source tree.
TREE = Path(__file__).resolve().parents[3] / RELATIVE


def packaged_path(name: str) -> Path:
    """Return the path of a packaged file of ``config/data``."""
    try:
        # The package exists in a wheel only: there the folder `config/data` is mapped onto it.
        importlib.import_module(_PACKAGE)
        path = Path(str(resources.files(_PACKAGE).joinpath(name)))
        if path.is_file():
            return path
    except ModuleNotFoundError:
        pass
    return TREE / name


def is_packaged(path: Path, name: str) -> bool:
    """Tell whether ``path`` is the packaged file of that name itself, as in the source tree."""
    return path.resolve() == TREE / name


def rules_of_testnets() -> Path:
    """Return the rules that lead to test networks."""
    return packaged_path("testnet_rules.yaml")
