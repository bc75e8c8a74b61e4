"""``onetape.data`` is ``src.data`` in a checkout: one set of modules, whichever name imports them."""

from __future__ import annotations

import asyncio
import importlib
import os
import subprocess
import sys
import typing
from importlib import import_module
from pathlib import Path

import pytest

import onetape
import src.data
from onetape.aio import AsyncDataManager
from src.data import errors
from src.data.core.model.answer.member_frames import Frames
from src.data.errors import DataError
from tests.contract.source import ROOT, modules
from tests.contract.test_exports import DEEP_PATHS
from tests.programs import PYTHONPATH

OURS = str(ROOT / "src" / "data" / "__init__.py")
IMPORTABLE = sorted({m.name for m in modules()} - {"", "__main__"})


def run(code: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run Python as a user whose own folder stands before ours on the path."""
    path = os.pathsep.join([str(folder), PYTHONPATH])
    places = {"DATA_CACHE_DIR": str(folder / "bars"), "ONETAPE_STATE_DIR": str(folder / "state")}
    return subprocess.run(
        [sys.executable, *code], cwd=folder, env=dict(os.environ, PYTHONPATH=path, **places),
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip


@pytest.mark.parametrize("name", src.data.__all__)
def test_every_name_is_the_very_object(name: str) -> None:
    assert getattr(onetape, name) is getattr(src.data, name)


def test_onetape_has_no_other_names() -> None:
    with pytest.raises(AttributeError, match="module 'onetape' has no attribute 'nothing'"):
        onetape.__getattr__("nothing")


def test_importing_onetape_imports_nothing_else(tmp_path: Path) -> None:
    code = (
        # The first two are loaded by others up to Python 3.13.
        "import os, warnings, sys, typing, __future__, importlib.machinery; before = {*sys.modules}\n"
        "import onetape; print(*sorted({*sys.modules} - before))"
    )
    ours = "onetape onetape._older_name onetape.data onetape.public"
    assert run(["-S", "-c", code], tmp_path).stdout == f"{ours}\n"


def test_every_error_can_be_imported_from_the_module_of_errors() -> None:
    classes = {name: one for name, one in vars(errors).items() if isinstance(one, type)}
    raised = {name for name, one in classes.items() if issubclass(one, DataError | Warning)}
    assert len(raised) > 50
    assert raised == {*import_module("onetape.errors").__all__}


def test_the_names_of_onetape_are_its_own() -> None:
    names = [name for name in dir(onetape) if not name.startswith("__")]
    modules = """
        aio bundles currencies db errors feeds futures jobs receipts sources testing vendors yf
    """.split()
    assert names == sorted({*onetape.__all__, *modules} - {"__version__"})
    for name in modules:
        assert getattr(onetape, name) is importlib.import_module(f"onetape.{name}")


def test_a_batch_has_the_type_of_its_result(tmp_path: Path) -> None:
    overloads = typing.get_overloads(onetape.DataManager.get_ohlcv_batch)
    told = [each.__annotations__["return"] for each in overloads]
    assert told == ["Frames", "MemberFrames", "pd.DataFrame"]
    manager = onetape.DataManager(tmp_path)
    assert type(manager.get_ohlcv_batch([], "1d")) is Frames
    assert (
        type(asyncio.run(AsyncDataManager(manager).aget_ohlcv_batch(["A"], "1d", offline=True)))
        is Frames
    )


def test_a_patched_name_of_src_data_is_seen_through_onetape(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stand_in = object()
    monkeypatch.setattr("src.data.errors.QueryError", stand_in)
    assert onetape.QueryError is stand_in


def test_each_file_is_one_module_by_both_names() -> None:
    older = [import_module(f"src.data.{name}") for name in IMPORTABLE]
    newer = [import_module(f"onetape.data.{name}") for name in IMPORTABLE]
    assert [one.__name__ for one in older] == [f"onetape.data.{name}" for name in IMPORTABLE]
    assert [a.__name__ for a, b in zip(older, newer, strict=True) if a is not b] == []
    assert [m.__name__ for m in newer if m.__spec__ is None or m.__spec__.name != m.__name__] == []


def test_the_older_name_imported_first_loads_no_file_twice(tmp_path: Path) -> None:
    code = (
        "import sys, src.data, src.data.core.cache.store as older\n"
        "from src.data.db.services import telegram_service\n"
        "import onetape.data.core.cache.store as newer\n"
        "print(older is newer, src.data is sys.modules['onetape'].data, telegram_service.__name__)\n"
        "print({n for n, m in sys.modules.items() if m.__name__.startswith('src.')})"
    )
    said = run(["-W", "error", "-c", code], tmp_path)
    assert said.stdout == "True True onetape.data.db.services.telegram_service\nset()\n", (
        said.stderr
    )


def test_public_classes_have_one_home_in_onetape() -> None:
    places = [("", name) for name in src.data.__all__]
    places += [(f".{path}", name) for path, names in DEEP_PATHS for name in names.split()]
    found = [getattr(import_module(f"src.data{path}"), name) for path, name in places]
    classes = [one for one in found if isinstance(one, type)]
    assert len(classes) > 100
    homes = {cls.__module__.partition(".")[0] for cls in classes}
    assert homes == {"onetape"}


VERSION = f"onetape {src.data.__version__}\n"


@pytest.mark.parametrize("name", ["onetape", "onetape.data", "src.data"])
def test_each_name_runs_as_the_command(name: str, tmp_path: Path) -> None:
    said = run(["-W", "error", "-m", name, "--version"], tmp_path)
    assert (said.stdout, said.stderr) == (VERSION, "")


@pytest.mark.parametrize("name", ["src.data", "onetape.data"])
def test_modules_run_by_both_names(name: str, tmp_path: Path) -> None:
    said = run(["-W", "error", "-m", f"{name}.cache.populate_cache", "--help"], tmp_path)
    assert "--symbols" in said.stdout and "--tickers" in said.stdout
    assert said.stderr == "", "runpy warns when a package has already imported what it runs"


def test_src_data_is_importable_beside_another_package_named_src(tmp_path: Path) -> None:
    (tmp_path / "src" / "data").mkdir(parents=True)  # no package: a folder of files
    (tmp_path / "src" / "__init__.py").write_text("OWN = 1\n")
    (tmp_path / "src" / "ours.py").write_text("NAME = 'ours'\n")
    hidden = run(["-c", "import src.data; src.data.get_data_manager"], tmp_path)
    assert hidden.returncode != 0, "without onetape it cannot be imported"
    (tmp_path / "src" / "data").rmdir()
    code = "import onetape, src.data, src.ours; print(src.data.__file__, src.OWN, src.ours.NAME)"
    assert run(["-c", code], tmp_path).stdout == f"{OURS} 1 ours\n"


@pytest.mark.parametrize("theirs", ["src/data/__init__.py", "src/data.py"])
def test_a_src_data_of_another_project_stays_its_own(theirs: str, tmp_path: Path) -> None:
    path = tmp_path / theirs
    path.parent.mkdir(parents=True)
    (tmp_path / "src" / "__init__.py").touch()
    path.write_text("OWN = 1\n")
    for order in ("onetape, src.data", "src.data, onetape"):
        code = f"import {order}; print(src.data.OWN, onetape.DataError.__module__)"
        assert run(["-c", code], tmp_path).stdout == "1 onetape.data.errors\n"


def test_a_file_named_src_hides_nothing_of_onetape(tmp_path: Path) -> None:
    (tmp_path / "src.py").write_text("OWN = 1\n")
    code = "import onetape, src; print(src.OWN, onetape.DataError.__module__)"
    assert run(["-c", code], tmp_path).stdout == "1 onetape.data.errors\n"
