"""The packages of the wheel, which are the folders of the package; everything else is in setup.cfg.

``find_namespace:`` in setup.cfg would not follow ``package_dir``.
"""

from pathlib import Path

from setuptools import setup

_ROOT = Path(__file__).parent.absolute()
_DATA = _ROOT / "src" / "data"
_DOORS = sorted(file.parent.name for file in _ROOT.glob("onetape/*/__init__.py"))
_FOLDERS = sorted(file.parent.relative_to(_DATA).parts for file in _DATA.rglob("__init__.py"))
_MAPPED = ("default_config", "documentation", "example_bot")

setup(
    packages=[
        "onetape",
        *(f"onetape.{name}" for name in _DOORS if name != "data"),
        *(".".join(("onetape", "data", *parts)) for parts in _FOLDERS),
        *(f"onetape.data.{name}" for name in _MAPPED),
    ]
)
