"""The packages of the wheel, which are the folders of the package; everything else is in setup.cfg.

``find_namespace:`` in setup.cfg would not follow ``package_dir``.
"""

from pathlib import Path

from setuptools import setup

_DATA = Path(__file__).parent.absolute() / "src" / "data"
_FOLDERS = sorted(file.parent.relative_to(_DATA).parts for file in _DATA.rglob("__init__.py"))
_MAPPED = ("default_config", "documentation", "example_bot")

setup(
    packages=[
        "onetape",
        *(".".join(("onetape", "data", *parts)) for parts in _FOLDERS),
        *(f"onetape.data.{name}" for name in _MAPPED),
    ]
)
