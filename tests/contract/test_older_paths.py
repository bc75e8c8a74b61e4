"""The table of older paths serves what was importable when each of them was a file.

``older_names.tsv`` was written from these files. Its columns: path below ``onetape.data``, what it is,
name, and the object (``module:name``) or the sentence. A path and name ``listed`` is part of
``import *``, one that is ``served`` is not; a ``program`` is run by ``python -m``. An inner module that is
``shown`` has moved since pages showed it; its name is the public module that its warning names. One that is
``pickled`` has moved since programs could keep objects of the class: public classes, and those of what public
calls return. ``python -m tests.contract.test_older_paths`` prints how many names are served.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import warnings
from importlib import import_module, resources
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import onetape._older_name as finders
import src.data
from onetape.public import PUBLIC
from src.data.doors import older_paths
from tests.contract.source import PACKAGE, ROOT
from tests.programs import PYTHONPATH

ROWS = [
    line.split("\t")
    for line in Path(__file__).with_name("older_names.tsv").read_text("utf-8").splitlines()
]
NAMES = [(path, name, home) for path, kind, name, home in ROWS if kind in ("listed", "served")]
PATHS = sorted(
    {path for path, kind, _, _ in ROWS if path and kind not in ("refused", "shown", "pickled")}
)
PICKLED = [(path, name, home) for path, kind, name, home in ROWS if kind == "pickled"]
SHOWN = [(path, public, home) for path, kind, public, home in ROWS if kind == "shown"]
# Paths in the list that are still files serve more than the names in the list.
TABLE_PATHS = [path for path in PATHS if path in older_paths.ROWS and older_paths.ROWS[path].names]
REFUSED = [(path, name, text) for path, kind, name, text in ROWS if kind == "refused"]
PROGRAMS = [(path, home) for path, kind, _, home in ROWS if kind == "program"]


def run(code: list[str], folder: Path, *before: Path) -> subprocess.CompletedProcess[str]:
    """Run Python in a folder of a user, with other folders before the checkout on the path."""
    path = os.pathsep.join([*map(str, before), str(folder), PYTHONPATH])
    places = {"DATA_CACHE_DIR": str(folder / "bars"), "ONETAPE_STATE_DIR": str(folder / "state")}
    return subprocess.run(
        [sys.executable, *code], cwd=folder, env=dict(os.environ, PYTHONPATH=path, **places),
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip


def walk() -> dict[str, int]:
    """Return how many names are the object of their home, by both roots, and how many are refused."""
    counts = dict.fromkeys(("paths", "names", "same", "moved", "pickled", "refused"), 0)
    counts["paths"] = len({path for path, *_ in ROWS if path})
    for path, kind, name, home in ROWS:
        roots = [f"{root}.{path}".rstrip(".") for root in ("src.data", "onetape.data")]
        if kind == "refused":
            code = "from {} import {}" if name else "import {}"
            for module in roots:
                with pytest.raises(ImportError):
                    exec(code.format(module, name))
            counts["refused"] += 1
        elif kind in ("listed", "served", "pickled"):
            module, _, known = home.partition(":")
            found = [getattr(import_module(root), name) for root in roots]
            counts["pickled" if kind == "pickled" else "names"] += 1
            counts["same"] += all(one is getattr(import_module(module), known) for one in found)
        elif kind == "shown":
            counts["moved"] += all(import_module(root) is import_module(home) for root in roots)
    return counts


def test_all_names_of_the_list_are_served() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        counts = walk()
    assert counts == {
        "paths": 239, "names": 337, "same": 561, "moved": 45, "pickled": 224, "refused": 42,
    }  # fmt: skip
    assert len(PATHS) == 99


@pytest.mark.parametrize("root", ["src.data", "onetape.data"])
@pytest.mark.parametrize("path", PATHS)
def test_each_name_of_an_older_path_is_the_object_of_its_home(path: str, root: str) -> None:
    served = import_module(f"{root}.{path}")
    assert served is import_module(f"onetape.data.{path}")
    for name, home in [(name, home) for at, name, home in NAMES if at == path]:
        module, _, known = home.partition(":")
        assert getattr(served, name) is getattr(import_module(module), known), name
        assert name in dir(served) or path not in TABLE_PATHS, name


@pytest.mark.parametrize("path", TABLE_PATHS)
def test_a_star_import_takes_the_listed_names(path: str) -> None:
    listed = [name for at, kind, name, _ in ROWS if at == path and kind == "listed"]
    names: dict[str, Any] = {}
    exec(f"from onetape.data.{path} import *", names)
    found = sorted(name for name in names if not name.startswith("__"))
    assert found == sorted(listed) == sorted(older_paths.ROWS[path].public)


@pytest.mark.parametrize("path", PATHS)
def test_only_the_path_that_warned_warns(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [text for at, kind, _, text in ROWS if at == path and kind == "warned"]
    if path in TABLE_PATHS:
        monkeypatch.delitem(sys.modules, f"onetape.data.{path}", raising=False)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        import_module(f"onetape.data.{path}")
    ours = [str(w.message) for w in caught if "onetape.data" in str(w.message)]
    assert ours == texts


@pytest.mark.parametrize("path, public, home", SHOWN)
def test_an_inner_module_that_pages_showed_is_the_moved_one_and_warns_once(
    path: str, public: str, home: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for root in ("src.data", "onetape.data"):
        monkeypatch.delitem(sys.modules, f"{root}.{path}", raising=False)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        served = [import_module(f"{root}.{path}") for root in ("src.data", "onetape.data")]
    assert served[0] is served[1] is import_module(home)
    assert served[0].__name__ == home
    assert [(w.category, str(w.message)) for w in caught] == [
        (
            DeprecationWarning,
            f"onetape.data.{path} is deprecated: import its names from {public} or, "
            f"if they are not there, from {home}",
        )
    ]


@pytest.mark.parametrize("path, public, home", SHOWN)
def test_a_warning_names_the_public_module_that_has_names_of_the_moved_one(
    path: str, public: str, home: str
) -> None:
    """The root is also named for modules none of whose names are public."""
    moved = import_module(home)
    modules = ["onetape", "onetape.testing", "onetape.yf", public]
    having = {
        name
        for name in modules
        if find_spec(name) is not None
        for one in import_module(name).__all__
        if getattr(import_module(name), one) is getattr(moved, one, None)
    }
    assert public in (having or {"onetape", "onetape.testing"}) or find_spec(public) is None, path


@pytest.mark.parametrize("program", [
    "import src.data.catalog", "from src.data.catalog import DataCatalog",
    "import onetape.data.catalog", "from onetape.data import catalog",
    "from importlib import import_module; import_module('src.data.catalog')",
])  # fmt: skip
def test_the_warning_names_the_line_that_imports(program: str, tmp_path: Path) -> None:
    (tmp_path / "theirs.py").write_text(f"import onetape\n\n{program}\n{program}\n")
    said = run(["-W", "always::DeprecationWarning", "theirs.py"], tmp_path)
    text = next(text for path, kind, _, text in ROWS if kind == "warned")
    lines = [line for line in said.stderr.splitlines() if "DeprecationWarning" in line]
    assert lines == [f"{tmp_path}/theirs.py:3: DeprecationWarning: {text}"]


def test_advice_names_things_of_public_modules() -> None:
    """A text that names a successor by a path that is older itself only leads to the next warning."""
    texts = [
        row.marks[mark] for row in older_paths.ROWS.values() for mark in "!-" if mark in row.marks
    ]
    advice = [
        text.partition("deprecated")[2] or text for text in [*texts, *older_paths.NAMES.values()]
    ]
    assert len(advice) > 60
    for text in advice:
        named = re.findall(r"onetape(?:\.\w+)+", text)
        for at in {
            name.removesuffix(".") for name in named if not name.startswith("onetape.data.")
        }:
            module, _, name = at.rpartition(".")
            is_public = at in PUBLIC or name in import_module(module).__all__
            assert is_public or at == "onetape.providers", (
                f"{at}: {text}"
            )  # the group of entry points
        for at in {name for name in named if name.startswith("onetape.data.")}:
            assert at.split(".")[2] not in finders.GONE, text
            assert text.rpartition("if they are not there, from ")[2] == at, text


@pytest.mark.parametrize("root", ["src.data", "onetape.data"])
@pytest.mark.parametrize("path, name, text", REFUSED)
def test_what_is_not_served_is_refused_word_for_word(
    path: str, name: str, text: str, root: str
) -> None:
    statements = [f"from {root} import {name}", f"{root}.{name}"]
    if path:
        statements = [
            f"import {root}.{path}",
            f"from {root}.{path} import anything",
            f"import {root}.{path}.deeper",
        ]
    for statement in statements:
        with pytest.raises(ImportError, match=f"^{re.escape(text)}$") as caught:
            exec(f"import {root}\n{statement}")
        assert caught.value.name == (name or f"onetape.data.{path}")


def test_a_path_that_never_existed_is_not_found() -> None:
    for name in ("onetape.data.utils.nothing", "onetape.data.nothing", "src.data.v2.nothing"):
        with pytest.raises(ModuleNotFoundError):
            import_module(name)
    with pytest.raises(ImportError, match="cannot import name 'nothing'"):
        exec("from onetape.data.utils.validation import nothing")
    with pytest.raises(AttributeError, match=r"'onetape\.data\.v2' has no attribute 'nothing'"):
        import_module("src.data.v2").nothing  # noqa: B018 - the access itself is the test
    assert find_spec("onetape.data.utils.nothing") is None


@pytest.mark.parametrize("root", ["src.data", "onetape.data"])
@pytest.mark.parametrize("path, home", PROGRAMS)
def test_a_program_is_run_by_its_older_path(
    path: str, home: str, root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import runpy

    module, _, function = home.partition(":")
    monkeypatch.setattr(f"{module}.{function}", lambda: 7)
    for name in ("src.data", "onetape.data"):
        monkeypatch.delitem(sys.modules, f"{name}.{path}", raising=False)
    with pytest.raises(SystemExit, match="7"):
        runpy.run_module(f"{root}.{path}", run_name="__main__")
    runpy.run_module(f"{root}.{path}", run_name="__mp_main__")  # a process that it starts


def test_older_paths_run_as_programs(tmp_path: Path) -> None:
    said = run(["-W", "error", "-m", "src.data.pipeline.run_pipeline", "--help"], tmp_path)
    assert said.stdout.startswith("usage: run_pipeline ") and said.stderr == ""
    said = run(["-m", "onetape.data.utils.validation"], tmp_path)
    assert (said.returncode, said.stdout, said.stderr) == (0, "", "")
    said = run(["-m", "onetape.data.utils.caching"], tmp_path)
    assert said.stderr.rstrip().endswith(older_paths.ROWS["utils.caching"].marks["-"])


def test_a_patch_at_home_is_seen_by_the_older_path(monkeypatch: pytest.MonkeyPatch) -> None:
    from src.data.utils import retry as older

    stand_in = object()
    assert older.exponential_backoff is not stand_in
    monkeypatch.setattr("src.data.core.own_loops.retry.exponential_backoff", stand_in)
    assert older.exponential_backoff is stand_in


def test_data_portal_is_what_the_settings_choose(monkeypatch: pytest.MonkeyPatch) -> None:
    import src.data.polars as older

    for value, name in (("0", "PandasDataPortal"), ("1", "PolarsDataPortal")):
        monkeypatch.setenv("RUSTYBT_USE_POLARS", value)
        assert older.DataPortal.__name__ == name


@pytest.mark.parametrize("root", ["src.data", "onetape.data"])
def test_pickles_by_an_older_path_load(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was pickled before loads in silence, also if an import of the same path warns."""
    import pickle

    of_pipeline = "onetape.data.doors.compat.validation:ValidationResult"
    for path, name, home in (("utils.validation", "ValidationResult", of_pipeline), *PICKLED):
        module, _, known = home.partition(":")
        for other in ("src.data", "onetape.data"):
            monkeypatch.delitem(sys.modules, f"{other}.{path}", raising=False)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            served = pickle.loads(f"c{root}.{path}\n{name}\n.".encode())
        assert served is getattr(import_module(module), known), path


def test_a_package_that_has_moved_contains_each_of_its_modules_once(tmp_path: Path) -> None:
    """A second copy of a file would have its own classes, and count its imports from elsewhere."""
    code = (
        "from src.data.hosts.turn import HeldLease as a\n"
        "from onetape.data.hosts.turn import HeldLease as b\n"
        "import onetape.data.vendors.mock.bars as c\n"
        "from onetape.data.core.hosts.turn import HeldLease\n"
        "print(a is b is HeldLease, HeldLease.__module__, c.__name__)\n"
        "from importlib.util import find_spec; print(find_spec('onetape.data.vendors.nothing'))"
    )
    said = run(["-W", "ignore", "-c", code], tmp_path)
    assert said.stdout == (
        "True onetape.data.core.hosts.turn onetape.data.core.vendors.mock.bars\nNone\n"
    ), said.stderr


def test_an_older_package_contains_no_files() -> None:
    for path in ("utils", "bundles", "polars"):
        found = resources.files(f"onetape.data.{path}")
        assert [*found.iterdir()] == [] and not found.joinpath("x.json").is_file()


def test_the_table_is_loaded_only_for_older_paths(tmp_path: Path) -> None:
    code = (
        "import sys, onetape; onetape.DataManager('cache').coverage('AAPL', '1d')\n"
        "from importlib.util import find_spec; assert find_spec('onetape.data.nothing') is None\n"
        "assert 'onetape.data.doors.older_paths' not in sys.modules\n"
        "import onetape.data.logs; print('onetape.data.doors.older_paths' in sys.modules)"
    )
    said = run(["-W", "ignore", "-c", code], tmp_path)
    assert said.stdout == "True\n", said.stderr


def test_what_begins_with_a_path_that_is_gone_is_found_first() -> None:
    """A folder may be left that only contains compiled files."""
    tops = {path.partition(".")[0] for path in older_paths.ROWS}
    files = {p.stem for p in PACKAGE.iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()}
    assert tops - files == finders.GONE
    assert tops & files == finders.WITHIN


def test_folders_with_only_compiled_files_hide_nothing(tmp_path: Path) -> None:
    copied = tmp_path / "copy"
    for name in ("onetape/__init__.py", "onetape/_older_name.py", "onetape/public.py"):
        (copied / name).parent.mkdir(parents=True, exist_ok=True)
        (copied / name).write_bytes((ROOT / name).read_bytes())
    (copied / "src").mkdir()
    (copied / "src" / "data").mkdir()
    for path in PACKAGE.iterdir():
        (copied / "src" / "data" / path.name).symlink_to(path)
    for name in finders.GONE:
        (copied / "src" / "data" / name / "__pycache__").mkdir(parents=True, exist_ok=True)
    code = (
        "import sys; sys.dont_write_bytecode = True\n"
        "from onetape.data.bundles import lineage\n"
        "from src.data.utils.retry import exponential_backoff\n"
        "import src.data.catalog, src.data.logs, onetape\n"
        "print(len(src.data.catalog.__all__), onetape.__file__)"
    )
    said = run(["-c", code], tmp_path, copied)
    assert re.fullmatch(rf"\d+ {re.escape(str(copied))}/onetape/__init__\.py\n", said.stdout), (
        said.stderr
    )


def test_modules_of_a_user_named_like_older_paths_stay_theirs(tmp_path: Path) -> None:
    names = sorted({*finders.GONE, *finders.WITHIN, "core", "errors"} - {"polars"})  # a package
    for name in names:
        (tmp_path / f"{name}.py").write_text(f"NAME = {name!r}\n")
    code = (
        "import onetape, onetape.data.utils.retry, onetape.data.bundles, onetape.data.downloader\n"
        f"import {', '.join(names)}\n"
        f"assert all(one.NAME == one.__name__ for one in ({', '.join(names)}))\n"
        f"print(len(onetape.data.downloader.__all__), onetape.data.bundles.scan.__module__)"
    )
    said = run(["-W", "ignore", "-c", code], tmp_path)
    assert said.stdout == "18 onetape.data.research.bundles.scan\n", said.stderr


@pytest.mark.parametrize("order", ["onetape, src.data", "src.data, onetape"])
def test_a_src_data_of_another_project_gets_no_module_of_ours(order: str, tmp_path: Path) -> None:
    (tmp_path / "src" / "data").mkdir(parents=True)
    (tmp_path / "src" / "__init__.py").touch()
    (tmp_path / "src" / "data" / "__init__.py").touch()
    for name in ("utils", "errors"):
        code = f"import {order}\nimport src.data.{name}"
        said = run(["-c", code], tmp_path)
        assert said.stderr.endswith(f"ModuleNotFoundError: No module named 'src.data.{name}'\n")


def test_the_first_of_two_copies_serves_its_own_paths(tmp_path: Path) -> None:
    second = tmp_path / "second"
    (second / "onetape" / "data").mkdir(parents=True)
    (second / "onetape" / "__init__.py").write_text("raise SystemExit('the second copy')\n")
    code = (
        "import onetape, sys; sys.modules.pop('onetape'); import onetape\n"
        "from onetape.data.utils.retry import exponential_backoff as f; print(f.__module__)\n"
        "print(sum(one.__name__ == 'OlderPaths' for one in sys.meta_path if isinstance(one, type)))"
    )
    path = os.pathsep.join([PYTHONPATH, str(second)])
    said = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=dict(os.environ, PYTHONPATH=path),
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert said.stdout == "onetape.data.core.own_loops.retry\n1\n", said.stderr


@pytest.mark.parametrize("root, before", [("onetape.data", "sys"), ("src.data", "src.data")])
def test_an_older_path_is_imported_in_threads_at_the_start(
    root: str, before: str, tmp_path: Path
) -> None:
    """Threads that all begin with parts of ``src.data`` need it imported: Python does not wait for it."""
    code = (
        f"import sys, threading, {before}\nsys.setswitchinterval(1e-6)\n"
        f"lines = ['import {root}.cache.unified_cache as c; seen.append(c.UnifiedCache)',\n"
        f"         'import {root}.cache.unified_cache as c; seen.append(c.UnifiedCache)',\n"
        f"         'import {root}.utils.validation as c; seen.append(c.ValidationResult)',\n"
        f"         'from {root}.downloader.paging import check_symbol as c; seen.append(c)']\n"
        "seen, together = [], threading.Barrier(8)\n"
        "def load(line): together.wait(); exec(line, {'seen': seen})\n"
        "threads = [threading.Thread(target=load, args=(lines[n % 4],)) for n in range(8)]\n"
        "[t.start() for t in threads]; [t.join(60) for t in threads]\n"
        "print(len(seen), len(set(seen)), *sorted({c.__name__ for c in seen}))"
    )
    said = run(["-c", code], tmp_path)
    assert said.stdout == "8 3 UnifiedCache ValidationResult check_symbol\n", said.stderr


def test_an_older_path_can_be_loaded_again(tmp_path: Path) -> None:
    code = (
        "from importlib import reload\n"
        "import onetape.data.utils.retry as a, src.data.cache.unified_cache as b, onetape.data.bundles as c\n"
        "f = a.exponential_backoff\n"
        "print(reload(a) is a, a.exponential_backoff is f, reload(b) is b, b.__name__, reload(c) is c)\n"
        "import onetape.data.utils.retry as again; print(again is a)"
    )
    said = run(["-W", "error", "-c", code], tmp_path)
    home = "onetape.data.core.cache.facade.unified_cache"
    assert said.stdout == f"True True True {home} True\nTrue\n", said.stderr


def test_each_program_starts_by_its_older_path(tmp_path: Path) -> None:
    """One process runs all of them as ``python -m`` does, each with a new ``__main__``."""
    paths = [path for path, _ in PROGRAMS]
    code = (
        "import runpy, sys\n"
        f"for path in {paths}:\n"
        "    sys.argv = ['', '--help']\n"
        "    try: runpy.run_module(f'src.data.{path}', run_name='__main__', alter_sys=True)\n"
        "    except SystemExit as end: print(end.code)"
    )
    said = run(["-W", "error", "-c", code], tmp_path)
    usages = re.findall(r"^usage: (\S+) \[-h\]", said.stdout, re.M)
    assert usages == [path.rpartition(".")[2] for path in paths], said.stderr
    assert re.findall(r"^(\w+)$", said.stdout, re.M) == ["0"] * len(paths) and said.stderr == ""


PLUGIN = """from onetape.data.model.bars import Bar, BarTable
from onetape.data.model.capabilities import Capabilities, Fetched
from onetape.data.model.kind import Basis, Kind
from onetape.data.vendors.base import BaseDataDownloader
from onetape.data.vendors.base import BaseDataDownloader as Base
DAY = 86_400_000
class Theirs(BaseDataDownloader):
    name = "theirs"
    capabilities = Capabilities(
        frozenset({"crypto"}), {"1d": "1d"}, kinds={"crypto": Kind("24h", "clock", "here", volume="base")}
    )
    def fetch(self, query):
        days = range(-(-query.span.start // DAY) * DAY, query.span.end, DAY)
        bars = [Bar(at, 10.0, 12.0, 9.0, 11.0, 5.0) for at in days]
        kind = self.capabilities.kind(query.instrument, query.timeframe)
        return Fetched(BarTable.from_bars(bars), self.name, kind, Basis("raw"), query.now_ms)
"""


def test_a_plugin_that_imports_what_pages_showed_works_and_warns_once_for_each_path(
    tmp_path: Path,
) -> None:
    (tmp_path / "theirs.py").write_text(PLUGIN)
    info = tmp_path / "theirs-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[onetape.providers]\ntheirs = theirs:Theirs\n")
    (tmp_path / "rules.yaml").write_text("crypto: {primary: theirs}\n")
    code = (
        "from onetape import DataManager; m = DataManager('bars', 'rules.yaml')\n"
        "print(len(m.get_ohlcv('BTCUSDT', '1d', '2024-01-01', '2024-01-04')))"
    )
    said = run(["-W", "always::DeprecationWarning", "-c", code], tmp_path)
    assert said.stdout == "4\n", said.stderr
    warned = [line for line in said.stderr.splitlines() if "DeprecationWarning: onetape" in line]
    paths = ("model.bars", "model.capabilities", "model.kind", "vendors.base")
    assert [line.partition(" or, ")[0] for line in warned] == [
        f"{tmp_path}/theirs.py:{number}: DeprecationWarning: onetape.data.{path} is deprecated: "
        "import its names from onetape.vendors"
        for number, path in enumerate(paths, start=1)
    ]


def test_a_part_that_is_not_installed_is_named(tmp_path: Path) -> None:
    copied = tmp_path / "copy"
    shutil.copytree(ROOT / "onetape", copied / "onetape", ignore=shutil.ignore_patterns("data"))
    (copied / "onetape" / "data").mkdir()
    for path in PACKAGE.iterdir():
        if path.name != "research":
            (copied / "onetape" / "data" / path.name).symlink_to(path)
    for code, part in (
        ("from onetape.data.bundles import DataCatalog", "onetape.data.research"),
        ("import onetape.data.layer.bundle", "onetape.data.research"),
        ("import onetape.data.nothing", "onetape.data.nothing"),
    ):
        last = run(["-c", code], tmp_path, copied).stderr.splitlines()[-1]
        # Since 3.15, Python may suggest another name after the sentence.
        assert last.partition(". Did")[0] == f"ModuleNotFoundError: No module named '{part}'"
    said = run(["-c", "from onetape.data.utils.retry import retry_on_exception"], tmp_path, copied)
    assert (said.returncode, said.stderr) == (0, "")
    (copied / "onetape" / "data" / "doors").unlink()
    said = run(["-c", "import onetape.data.utils.retry"], tmp_path, copied)
    last = said.stderr.splitlines()[-1]
    assert last.partition(". Did")[0].endswith("No module named 'onetape.data.doors'"), said.stderr


# A program that loads modules as frozen ones are: from no folder, while other files are in folders.
FROZEN = """
import sys
from importlib.machinery import SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
TREE, BUNDLE = Path(sys.argv[1]), Path(sys.argv[2])
class Loader(SourceFileLoader):
    def get_data(self, path):
        at = Path(path).relative_to(BUNDLE)
        inner = at.relative_to("onetape/data") if at.parts[1] == "data" else None
        return (TREE / at if inner is None else TREE / "src" / "data" / inner).read_bytes()
    def path_stats(self, path):
        raise OSError
    def set_data(self, *_, **__):
        pass
class Finder:
    def find_spec(name, path=None, target=None):
        for file in (f"{name.replace('.', '/')}/__init__.py", f"{name.replace('.', '/')}.py"):
            loader = Loader(name, str(BUNDLE / file))
            try:
                loader.get_data(str(BUNDLE / file))
            except (OSError, ValueError, IndexError):
                continue
            folders = [str((BUNDLE / file).parent)] if file.endswith("__init__.py") else None
            return spec_from_file_location(
                name, BUNDLE / file, loader=loader, submodule_search_locations=folders)
sys.path = [path for path in sys.path if not (Path(path) / "onetape").is_dir()]
sys.meta_path.insert(0, Finder)
"""


def test_older_paths_work_in_a_frozen_program(tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    package = bundle / "onetape" / "data"
    leave = shutil.ignore_patterns("*.py", "__pycache__")
    shutil.copytree(PACKAGE, package, ignore=leave)
    shutil.copytree(ROOT / "config" / "data", package / "default_config", ignore=leave)
    (tmp_path / "program.py").write_text(
        FROZEN + "import onetape\nfrom importlib.resources import files\n"
        "from onetape.data.utils.retry import exponential_backoff as f\n"
        "import onetape.data.cache.unified_cache as c\n"
        "print(onetape.__file__, f.__module__, c.__name__)\n"
        "print(onetape.ProviderSelector().rules['crypto']['primary'])\n"
        "for name in ('onetape.data.show.charts', 'onetape.data.charts'):\n"
        "    print(files(name).joinpath('all.html').is_file())\n"
    )
    said = run(["program.py", str(ROOT), str(bundle)], tmp_path)
    assert said.stdout.splitlines() == [
        f"{bundle}/onetape/__init__.py onetape.data.core.own_loops.retry "
        "onetape.data.core.cache.facade.unified_cache",
        "binance", "True", "True",
    ], said.stderr  # fmt: skip
    shutil.rmtree(package)
    said = run(["program.py", str(ROOT), str(bundle)], tmp_path)
    assert f"onetape cannot be imported from the archive {bundle}, because it reads" in said.stderr


def test_older_paths_work_without_docstrings(tmp_path: Path) -> None:
    code = "from src.data.downloader.paging import check_symbol; print(check_symbol.__doc__)"
    assert run(["-OO", "-c", code], tmp_path).stdout == "None\n"


TABLE = """
moved
    * errors
    ! text of a warning
names.inside
    errors: QueryError older=DataError ~hidden=NoDataError
    > cli: main
"""


def test_the_marks_of_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = older_paths._parse(TABLE)
    assert set(rows) == {"moved", "names", "names.inside"}
    assert rows["names.inside"].names == {
        "QueryError": ("errors", "QueryError"),
        "older": ("errors", "DataError"),
        "hidden": ("errors", "NoDataError"),
    }
    assert rows["names.inside"].public == ["QueryError", "older"]
    assert rows["names.inside"].marks == {">": "cli: main"}
    monkeypatch.setattr(older_paths, "ROWS", rows)
    monkeypatch.setattr(finders, "WITHIN", {"moved", "names"})
    try:
        with pytest.warns(DeprecationWarning, match="text of a warning") as caught:
            exec("import src.data.moved, onetape.data.moved as one\nassert one is src.data.errors")
        assert len(caught) == 1
        from onetape.data.names import inside  # type: ignore[import-not-found]

        assert inside.older is src.data.errors.DataError
    finally:
        for name in ("moved", "names", "names.inside"):
            for root in ("src.data", "onetape.data"):
                sys.modules.pop(f"{root}.{name}", None)
        for name in ("moved", "names"):
            vars(src.data).pop(name, None)


if __name__ == "__main__":
    warnings.simplefilter("ignore", DeprecationWarning)
    sys.stdout.write(", ".join(f"{count} {word}" for word, count in walk().items()) + "\n")


def test_a_package_that_has_moved_still_has_the_other_older_paths_below_it(tmp_path: Path) -> None:
    lines = [
        "from onetape.data.cache import fill_gaps, validate_gaps, populate_cache",
        "from src.data.cache import unified_cache",
        "from onetape.data.compat import limiters",
        "from onetape.data.vendors import factory",
        "print(fill_gaps.__name__, unified_cache.__name__, limiters.__name__, factory.__name__)",
    ]
    said = run(["-W", "ignore", "-c", "\n".join(lines)], tmp_path)
    assert said.stdout.split() == [
        "onetape.data.cache.fill_gaps",
        "onetape.data.core.cache.facade.unified_cache",
        "onetape.data.core.own_loops.limiters",
        "onetape.data.core.vendors.factory",
    ], said.stderr
