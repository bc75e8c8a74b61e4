"""``onetape`` is ``src.data`` by another name, also where another package is called ``src``."""

from __future__ import annotations

import asyncio
import importlib
import os
import subprocess
import sys
import typing
from pathlib import Path

import pytest

import onetape
import src.data
from onetape.aio import AsyncDataManager
from src.data import errors
from src.data.errors import DataError
from src.data.model.member_frames import Frames
from tests.contract.source import ROOT
from tests.programs import PYTHONPATH

OURS = str(ROOT / "src" / "data" / "__init__.py")


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
    assert name in onetape.__all__


def test_the_exports_and_the_types_of_onetape_agree() -> None:
    assert set(onetape.__all__) == {*src.data.__all__, "HiddenPackageError"}
    assert set(onetape.__all__) <= set(dir(onetape))
    text = (ROOT / "onetape" / "__init__.py").read_text("utf-8")
    types = text[text.index("    from src.data import (") : text.index(")\n\n__all__")]
    assert [name for name in src.data.__all__ if f"        {name},\n" not in types] == []
    with pytest.raises(AttributeError, match="module 'onetape' has no attribute 'nothing'"):
        onetape.__getattr__("nothing")


def test_every_error_can_be_imported_from_onetape() -> None:
    classes = {name: one for name, one in vars(errors).items() if isinstance(one, type)}
    raised = {name for name, one in classes.items() if issubclass(one, DataError | Warning)}
    assert len(raised) > 50
    assert raised <= {*onetape.__all__}


def test_the_names_of_onetape_are_its_own() -> None:
    names = [name for name in dir(onetape) if not name.startswith("__")]
    assert names == sorted({*onetape.__all__, "aio", "testing", "yf"} - {"__version__"})
    for name in ("aio", "testing", "yf"):
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


VERSION = f"onetape {src.data.__version__}\n"


def test_onetape_runs_as_the_command(tmp_path: Path) -> None:
    assert run(["-m", "src.data", "--version"], tmp_path).stdout == VERSION


def test_onetape_works_beside_another_package_named_src(tmp_path: Path) -> None:
    (tmp_path / "src" / "data").mkdir(parents=True)  # no package: a folder of files
    (tmp_path / "src" / "__init__.py").write_text("OWN = 1\n")
    (tmp_path / "src" / "ours.py").write_text("NAME = 'ours'\n")
    hidden = run(["-c", "import src.data; src.data.get_data_manager"], tmp_path)
    assert hidden.returncode != 0, "without onetape it cannot be imported"
    code = "import onetape, src.data, src.ours; print(src.data.__file__, src.OWN, src.ours.NAME)"
    assert run(["-c", code], tmp_path).stdout == f"{OURS} 1 ours\n"
    assert run(["-m", "onetape", "--version"], tmp_path).stdout == VERSION


@pytest.mark.parametrize("theirs", ["src/data/__init__.py", "src/data.py", "src.py"])
def test_a_package_with_a_data_of_its_own_is_named(theirs: str, tmp_path: Path) -> None:
    path = tmp_path / theirs
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.parent != tmp_path:
        (tmp_path / "src" / "__init__.py").touch()
    path.write_text("print('theirs has run')\n" if theirs != "src.py" else "")
    code = (
        "try:\n    import onetape\n"
        "except ImportError as error: print(type(error).__name__, error.path, error)"
    )
    said = run(["-c", code], tmp_path).stdout
    assert said.startswith(f"HiddenPackageError {path} {path} is imported as src.data")


def test_a_foreign_src_data_imported_earlier_is_reported(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "data.py").write_text("OTHER = 1\n")  # `src` is a namespace here
    said = run(["-c", "import src.data\nimport onetape"], tmp_path)
    assert f"HiddenPackageError: {tmp_path / 'src' / 'data.py'} is imported as" in said.stderr
