"""The list of public names: what each module offers, and that nothing else has to be kept equal to it."""

from __future__ import annotations

import ast
import importlib
import json
import os
import pickle
import re
import subprocess
import sys
import types
import warnings
from importlib import import_module
from pathlib import Path

import pytest

import onetape
from onetape.public import PUBLIC, door, homes_of
from src.data.core.registry import VENDORS
from tests.contract import public_types
from tests.contract.source import ROOT, modules
from tests.pages import SKILL
from tests.programs import PYTHONPATH

# The names of the root, and the modules beside it.
LISTED = """
    DataManager get_data_manager reset_data_manager UnifiedCache ProviderSelector
    get_provider_selector register register_recipe check_features configure_logging describe
    fingerprint plot to_polars to_arrow Listing Quote Quotes DataError QueryError ProviderError
    NoDataError IncompleteDataError IncompleteDataWarning __version__
""".split()
MODULES = """
    aio bundles currencies db db.models db.repos db.services errors feeds futures jobs receipts
    sources testing vendors yf
""".split()
# What the root has besides for programs of earlier versions: these, and the errors.
UNLISTED = """
    DataFeedFactory RateLimiter coerce_ohlcv_timestamp_column get_data_quality_score
    validate_ohlcv_data AllProvidersFailedError AuthenticationError BadRangeError BadSymbolError
    BadTimeframeError BundleError BundleNotFoundError CacheError CapabilityError CircuitOpenError
    ConfigError CorruptEntryError DataPortalError DataProviderError DatabaseError DatabaseUrlError
    DecimalRangeError EntitlementError FeatureError FeedLagError ForeignError FormatVersionError
    KindMismatchError LockTimeoutError LogUnreachableError LookaheadError MissingCredentialsError
    MissingExtraError NoDataAvailableError NoProviderError OvertakenError ProviderTimeoutError
    QualityError RateLimitedError ReadOnlyCacheWarning RefusedError RegionError ResponseFormatError
    RulesError SchemaError SeriesEndedWarning SpliceConflictError StorageError SurvivorshipWarning
    SymbolNotFoundError TransientError UnavailableError UniverseError UnknownProviderError
    UnknownSymbolError UnsupportedError
""".split()
NAMES = [(module, name) for module in PUBLIC for name in homes_of(module)]
DOORS = [
    module
    for module in PUBLIC
    if "door(__name__)" in Path(import_module(module).__file__ or "").read_text("utf-8")
]


def run(code: str, folder: Path, *options: str) -> str:
    """Return the output of a program in a process of its own, which uses a cache in a folder."""
    places = {"DATA_CACHE_DIR": str(folder / "bars"), "ONETAPE_STATE_DIR": str(folder / "state")}
    said = subprocess.run(
        [sys.executable, *options, "-c", code], cwd=folder, capture_output=True, text=True,
        env=dict(os.environ, PYTHONPATH=PYTHONPATH, **places), timeout=300,
    )  # fmt: skip
    assert said.returncode == 0, said.stderr
    return said.stdout


def test_the_root_lists_25_names_and_the_modules_beside_it_are_known() -> None:
    assert sorted(onetape.__all__) == sorted(LISTED) and len(LISTED) == 25
    assert sorted(PUBLIC) == sorted(["onetape", *(f"onetape.{name}" for name in MODULES)])


@pytest.mark.parametrize("module", PUBLIC)
def test_each_module_has_the_names_of_the_list(module: str) -> None:
    found = import_module(module)
    assert sorted(found.__all__) == sorted(homes_of(module))
    assert {*found.__all__} <= {*dir(found)}


@pytest.mark.parametrize("module, name", NAMES)
def test_each_name_is_the_object_of_its_home(module: str, name: str) -> None:
    home = homes_of(module)[name]
    value = getattr(import_module(module), name)
    assert value is getattr(import_module(module if home == "." else f"onetape.data.{home}"), name)
    assert not isinstance(value, types.ModuleType)


@pytest.mark.parametrize("name", UNLISTED)
def test_the_root_serves_the_names_of_before_in_silence(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        value = getattr(onetape, name)
    assert value is getattr(import_module("onetape.data"), name)
    assert name not in onetape.__all__


def test_each_vendor_has_its_class_among_the_vendors() -> None:
    paths = {row.bars.rpartition(":")[2] for row in VENDORS.values() if row.bars}
    assert len(paths) > 15 and paths <= {*import_module("onetape.vendors").__all__}


def test_a_type_checker_reads_the_same_names() -> None:
    texts = public_types.files()
    assert len(texts) == len(DOORS) + 1
    stale = [str(path) for path, text in texts.items() if path.read_text("utf-8") != text]
    assert stale == [], "run `make lists`"


def test_a_name_that_the_types_lack_is_found() -> None:
    path = ROOT / "onetape" / "feeds.py"
    text = public_types.files()[path]
    assert "import run_live as run_live\n" in text
    lacking = text.replace("    from .data.feed.replay import replay_feed as replay_feed\n", "")
    assert (
        public_types.replaced(lacking, public_types.imports_of("onetape.feeds")) == text != lacking
    )


@pytest.mark.parametrize("module", [one for one in DOORS if one != "onetape"])
def test_a_patch_at_home_is_seen(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name, home = next(iter(homes_of(module).items()))
    before = getattr(import_module(module), name)
    with monkeypatch.context() as patch:
        patch.setattr(f"onetape.data.{home}.{name}", stand_in := object())
        assert getattr(import_module(module), name) is stand_in
    assert getattr(import_module(module), name) is before


@pytest.mark.parametrize("module", DOORS)
def test_a_misspelt_name_is_answered_with_the_nearest(module: str) -> None:
    right = next(name for name in homes_of(module) if len(name) > 6)
    wrong = right[:-2] + right[-1]
    with pytest.raises(AttributeError) as caught:
        getattr(import_module(module), wrong)
    assert f"module {module!r} has no attribute {wrong!r}; did you mean {right!r}?" in str(
        caught.value
    )
    assert caught.value.name == wrong


@pytest.mark.parametrize("module", DOORS)
def test_a_guess_names_a_call_that_exists(module: str) -> None:
    with pytest.raises(AttributeError, match=r"; use onetape\.get_data_manager\(\)\.get_ohlcv\("):
        import_module(module).get_bars  # noqa: B018 - the access itself is the test


@pytest.mark.parametrize("name", ["_hidden", "__wrapped__"])
def test_a_private_name_is_refused_without_a_look_at_the_guesses(name: str) -> None:
    with pytest.raises(
        AttributeError, match=f"^module 'onetape.errors' has no attribute '{name}'$"
    ):
        getattr(import_module("onetape.errors"), name)


def test_a_module_below_is_found_without_its_import(tmp_path: Path) -> None:
    code = (
        "import onetape; print(onetape.db.services.__name__)\n"
        "from onetape.db import models; print(models.__name__)"
    )
    assert run(code, tmp_path).split() == ["onetape.db.services", "onetape.db.models"]


def test_a_star_import_gives_what_is_listed(tmp_path: Path) -> None:
    listed = ("onetape.errors", "onetape.jobs", "onetape")
    code = (
        f"for module in {listed}:\n"
        "    names = {}; exec(f'from {module} import *', names); del names['__builtins__']; print(*names)"
    )
    said = run(code, tmp_path).splitlines()
    assert [sorted(line.split()) for line in said] == [sorted(homes_of(one)) for one in listed]


# What -O leaves out, -OO leaves out too.
@pytest.mark.parametrize("options", [(), ("-OO",)])
def test_threads_at_the_start_of_a_program_import_the_modules_at_once(
    options: tuple[str, ...], tmp_path: Path
) -> None:
    # Python may see half of a package that imports its own modules, as that of the database's tables does,
    # while other threads import these modules: those of the database share a thread.
    of_db = [one for one in PUBLIC if one.startswith("onetape.db")]
    groups = [[one] for one in PUBLIC if one not in of_db] + [of_db]
    code = f"""
import sys, threading
groups = {groups!r}
barrier, failed = threading.Barrier(2 * len(groups)), []
sys.setswitchinterval(1e-5)
def load(modules):
    barrier.wait()
    try:
        for module in modules:
            scope = {{}}
            exec(f"import {{module}} as m", scope)
            for name in scope["m"].__all__:
                getattr(scope["m"], name)
    except BaseException as error:
        failed.append((module, repr(error)))
threads = [threading.Thread(target=load, args=(group,)) for group in groups * 2]
for thread in threads: thread.start()
for thread in threads: thread.join(120)
print(failed, [thread.is_alive() for thread in threads].count(True))
"""
    assert run(code, tmp_path, *options) == "[] 0\n"


@pytest.mark.parametrize("module", [*DOORS, "onetape.public", "onetape.data"])
def test_a_reloaded_module_has_the_same_names(module: str, tmp_path: Path) -> None:
    code = (
        f"import importlib, onetape, {module} as one; from onetape.errors import QueryError as before\n"
        "names = getattr(one, '__all__', None); again = importlib.reload(one)\n"
        "from onetape.errors import QueryError; import onetape.feeds, onetape.db.services\n"
        "print(again is one, getattr(one, '__all__', None) == names)\n"
        "print(QueryError is before is onetape.QueryError)"
    )
    assert run(code, tmp_path).split() == ["True"] * 3


def test_pickles_by_the_public_path_load() -> None:
    error = import_module("onetape.errors").BadSymbolError("no such symbol", symbol="X")
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again)) == (type(error), str(error))
    for module, name in NAMES:
        value = getattr(import_module(module), name)
        if isinstance(value, type):
            assert pickle.loads(f"c{module}\n{name}\n.".encode()) is value
            assert pickle.loads(pickle.dumps(value)) is value


def test_names_on_trial_are_in_modules_of_their_own() -> None:
    rings = json.loads((ROOT / "tests" / "contract" / "weight.json").read_text("utf-8"))["rings"]
    trial = tuple(f"{path.removesuffix('.py')}/" for path, ring in rings.items() if ring == "C")
    assert "doors/yf/" in trial
    found = {
        m
        for m in PUBLIC
        for home in homes_of(m).values()
        if f"{home.replace('.', '/')}/".startswith(trial)
    }
    assert found == {"onetape.currencies", "onetape.futures", "onetape.receipts", "onetape.yf"}


def test_a_module_that_is_not_in_the_list_has_no_door() -> None:
    with pytest.raises(KeyError, match=r"onetape\.nothing"):
        door("onetape.nothing")
    assert importlib.util.find_spec("onetape.nothing") is None


# --- pages and messages ----------------------------------------------------------------------

# What programs of older tools run, and has no other name.
OLDER_COMMAND = r"python -m onetape\.data\.(?:pipeline\.\w+|cache\.(?:validate|fill)_gaps)"
# Pages about paths and folders: of older programs, and of this repository.
ABOUT_PATHS = {"compatibility.md", "architecture.md", "decisions.md"}
SHOWN = [
    ROOT / "README.md",
    SKILL,
    *(ROOT / "docs").rglob("*.md"),
    *(ROOT / "examples").rglob("*.py"),
]


def inner_paths(text: str) -> list[str]:
    """Return the inner paths that a text shows, and the public modules from which it imports other names."""
    text = re.sub(rf"{OLDER_COMMAND}|^::: .+$", "", text, flags=re.MULTILINE)
    found = re.findall(r"\bonetape\.data\b[\w.]*|(?:from|import) src\.data\b[\w. ]*", text)
    for module, names in re.findall(r"from (onetape[\w.]*) import (\([^)]*\)|[\w, ]+)", text):
        names = [name.split(" as ")[0].strip() for name in names.strip("()\n ").split(",")]
        known = (
            {*homes_of(module), *(one.rpartition(".")[2] for one in PUBLIC)}
            if module in PUBLIC
            else {*names}
        )
        found += [f"{module}.{name}" for name in names if name and name not in known]
    return found


@pytest.mark.parametrize("path", SHOWN, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_page_shows_public_modules_alone(path: Path) -> None:
    if path.name not in ABOUT_PATHS:
        assert inner_paths(path.read_text("utf-8")) == []


def test_docstrings_and_messages_import_from_public_modules() -> None:
    older = re.compile(r"\b(?:from|import) (?:onetape|src)\.data\b")
    found = [
        f"{source.name}:{node.lineno}"
        for source in modules()
        if source.name not in ("doors.older_paths", "cli.setup")
        for node in source.nodes
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and older.search(node.value)
    ]
    assert found == []


@pytest.mark.parametrize("text, found", [
    ("from onetape.data.db import get_database", ["onetape.data.db"]),
    ("`onetape.data.v2`", ["onetape.data.v2"]),
    ("from src.data import get_data_manager", ["from src.data import get_data_manager"]),
    ("from onetape import AuthenticationError, DataError", ["onetape.AuthenticationError"]),
    ("from onetape.feeds import (\n    LiveFeed, bundles_of,\n)", ["onetape.feeds.bundles_of"]),
    ("from onetape import yf\nfrom onetape.db.services import telegram_service as db", []),
    ("python -m onetape.data.pipeline.run_pipeline --steps 2", []),
    ("python -m onetape.data.utils.populate_cache", ["onetape.data.utils.populate_cache"]),
])  # fmt: skip
def test_an_inner_path_in_a_text_is_found(text: str, found: list[str]) -> None:
    assert inner_paths(text) == found


def test_one_spelling_of_each_argument_is_shown() -> None:
    second = re.compile(
        r"\b(?:get_\w+|fetch|download)\([^)]*\b(?:start_date|end_date|force_refresh)="
    )
    shown = [path for path in SHOWN if path.name != "compatibility.md"]
    assert [str(path) for path in shown if second.search(path.read_text("utf-8"))] == []
    assert second.search('get_ohlcv("AAPL", "1d", start_date="2024")')
