"""What a user gets: the wheel beside projects of any form, and the editable form beside their own `src`."""

from __future__ import annotations

import errno
import io
import json
import os
import pickle
import re
import shutil
import sysconfig
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import src.data
from src.data import __version__
from src.data.cli import main
from src.data.core.model.time.timeframe import Timeframe
from src.data.errors import StorageError
from src.data.jobs.doctor import link as linking
from tests.contract.source import PACKAGE, ROOT
from tests.contract.test_exports import DEEP_PATHS
from tests.packaging.build import (
    as_user,
    build,
    build_editable,
    copy_tree,
    dist,
    environment_with,
    run,
    script,
    unpack,
)
from tests.pages import SKILL

pytestmark = pytest.mark.slow

DOCUMENTATION = "onetape/data/documentation/"
WHERE = "import onetape.data; print(onetape.data.__file__)"
RULES = "from onetape import ProviderSelector as P; print(P().rules['crypto']['primary'])"


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_tree(tmp_path_factory.mktemp("source") / "tree")


@pytest.fixture(scope="module")
def wheel(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if released := os.environ.get("ONETAPE_WHEEL"):  # `make release`
        return Path(released)
    return build(tree, tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpack(wheel, tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="module")
def editable(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("editable")
    return unpack(build_editable(tree, out / "dist"), out / "site")


@pytest.fixture
def consumer(tmp_path: Path) -> Path:
    """A project of somebody else: strategies, and a folder `src/data` full of CSV files."""
    for name, text in (
        ("strategies/ours.py", "NAME = 'ours'\n"),
        ("data/prices.csv", "a,b\n1,2\n"),
    ):
        path = tmp_path / "src" / name
        path.parent.mkdir(parents=True)
        path.write_text(text)
    return tmp_path


def test_the_wheel_contains_every_module_and_the_rules(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    sources = {f"onetape/data/{p.relative_to(PACKAGE).as_posix()}" for p in PACKAGE.rglob("*.py")}
    assert sources - names == set()
    assert {"onetape/data/py.typed", "onetape/data/default_config/provider_rules.yaml"} <= names
    face = {f"onetape/{p.name}" for p in (ROOT / "onetape").iterdir() if p.suffix}
    face |= {f"onetape/db/{p.name}" for p in (ROOT / "onetape" / "db").glob("*.py")}
    assert face <= names and {"onetape/py.typed", "onetape/db/services.py"} <= face
    strangers = {n for n in names if not n.startswith("onetape/") and ".dist-info/" not in n}
    assert strangers == set()


def test_the_source_archive_is_the_repository(wheel: Path, tree: Path) -> None:
    (archive,) = wheel.parent.glob("*.tar.gz")
    with tarfile.open(archive) as packed:
        members = packed.getmembers()
    names = {one.name.partition("/")[2] for one in members}
    assert {
        "Makefile",
        "data-cache/.gitkeep",
        "docs/format.md",
        "tests/packaging/build.py",
    } <= names
    listed = {
        f"tests/{p.relative_to(tree / 'tests').as_posix()}" for p in (tree / "tests").rglob("*.py")
    }
    assert len(listed) > 4 and listed - names == set()
    assert len({one.mtime for one in members}) == 1


def test_the_same_files_are_the_same_archive() -> None:
    """Whoever packed them, whenever, in whichever order."""

    def packed(names: list[str], mtime: int, uid: int, mode: int) -> bytes:
        raw = io.BytesIO()
        with tarfile.open(fileobj=raw, mode="w:gz") as archive:
            for name in names:
                member = tarfile.TarInfo(name)
                member.size, member.mtime, member.uid, member.mode = len(name), mtime, uid, mode
                archive.addfile(member, io.BytesIO(name.encode()))
        return raw.getvalue()

    one, other = packed(["a/x", "a/y"], 5, 0, 0o600), packed(["a/y", "a/x"], 99, 1000, 0o664)
    assert one != other
    repacked = dist().repacked
    assert repacked(one, 7) == repacked(other, 7) != repacked(one, 8)
    with tarfile.open(fileobj=io.BytesIO(repacked(one, 7))) as archive:
        assert [(m.name, m.mtime, m.mode) for m in archive] == [
            ("a/x", 7, 0o644),
            ("a/y", 7, 0o644),
        ]


def test_the_wheel_works_in_an_empty_folder(site: Path, tmp_path: Path) -> None:
    assert as_user(["-c", WHERE], cwd=tmp_path, installed=site).stdout.startswith(str(site))
    for module in ("onetape", "onetape.data"):
        said = as_user(["-m", module, "--version"], cwd=tmp_path, installed=site).stdout
        assert said == f"onetape {__version__}\n"


def test_the_command_is_declared(site: Path) -> None:
    (entry_points,) = site.glob("*.dist-info/entry_points.txt")
    assert "onetape = onetape.__main__:main" in entry_points.read_text("utf-8")


def test_the_documentation_is_in_the_wheel(wheel: Path, site: Path, tmp_path: Path) -> None:
    docs = ROOT / "docs"
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    pages = {p.relative_to(docs).as_posix() for p in docs.rglob("*.md")} | {"llms.txt", "moved.tsv"}
    pictures = {f"img/{p.name}" for p in (docs / "img").glob("*.svg")}
    packed = {n.removeprefix(DOCUMENTATION) for n in names if n.startswith(DOCUMENTATION)}
    assert packed == pages | pictures
    shown = as_user(["-m", "onetape", "docs", "gaps"], cwd=tmp_path, installed=site).stdout
    assert shown == (docs / "gaps.md").read_text("utf-8")
    assert SKILL.relative_to(ROOT).as_posix() in names
    readme = as_user(["-m", "onetape", "docs", "readme"], cwd=tmp_path, installed=site).stdout
    assert readme.strip() == (ROOT / ".ci" / "description.md").read_text("utf-8").strip()


def test_the_example_is_in_the_wheel(site: Path, tmp_path: Path) -> None:
    command = ["-m", "onetape", "docs", "telegram-bot", "--example", "bot"]
    as_user(command, cwd=tmp_path, installed=site)
    example = ROOT / "examples" / "telegram_bot"
    written = {path.name: path.read_bytes() for path in (tmp_path / "bot").iterdir()}
    assert written == {path.name: path.read_bytes() for path in example.glob("*.py")}


def test_the_metadata_lead_to_no_file_and_to_no_made_up_address(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [n for n in archive.namelist() if n.endswith(".dist-info/METADATA")]
        head, _, description = archive.read(name).decode().partition("\n\n")
        assert [n for n in archive.namelist() if n.endswith("/licenses/LICENSE")]
        # The script of others in pages of charts has its licence beside it.
        beside = {
            f"onetape/data/show/charts/lightweight-charts.{end}"
            for end in ("js", "LICENSE", "NOTICE")
        }
        assert beside < set(archive.namelist())
    assert "License-Expression: MIT AND Apache-2.0\n" in head and "License-File: LICENSE\n" in head
    # The one address is that of the project, or a placeholder which cannot exist.
    (address,) = set(re.findall(r"^Project-URL: \w+, https://([^/]+)", head, re.M))
    assert address == script("release").PLACEHOLDER and address.endswith(".invalid")
    assert "Home-page" not in head
    assert "`onetape docs`" in description
    assert not re.findall(r"\]\((?!https?:|#)", description) and "![" not in description


def test_the_packaged_rules_are_read_from_the_wheel(site: Path, tmp_path: Path) -> None:
    packaged = (
        "from importlib.resources import files;"
        "print(files('onetape.data.default_config').joinpath('provider_rules.yaml'));"
    )
    said = as_user(["-c", packaged + RULES], cwd=tmp_path, installed=site).stdout.splitlines()
    assert said[0].startswith(str(site)) and said[1:] == ["binance"]


def test_the_editable_form_is_one_path_line(editable: Path, tree: Path) -> None:
    (line,) = editable.glob("*.pth")
    assert Path(line.read_text("utf-8").strip()) == tree
    assert not list(editable.glob("*finder*"))


def test_the_editable_form_works_beside_a_consumers_own_src(
    editable: Path, consumer: Path, tree: Path
) -> None:
    ours = (
        "import src, src.data; from src.strategies.ours import NAME\n"
        "print(src.data.__file__, NAME, *src.__path__, sep='\\n')\n" + RULES
    )
    said = as_user(["-c", ours], cwd=consumer, installed=editable).stdout.splitlines()
    home = tree / "src" / "data" / "__init__.py"
    assert said == [str(home), "ours", str(consumer / "src"), str(tree / "src"), "binance"]


def test_an_editable_src_data_is_found_through_a_package_that_extends_its_path(
    editable: Path, consumer: Path
) -> None:
    extending = '__path__ = __import__("pkgutil").extend_path(__path__, __name__)\n'
    (consumer / "src" / "__init__.py").write_text(extending)
    code = "import src.data; from src.strategies.ours import NAME; print(src.data.__name__, NAME)"
    assert as_user(["-c", code], cwd=consumer, installed=editable).stdout == "onetape.data ours\n"


def test_older_paths_work_in_the_editable_form(editable: Path, consumer: Path, tree: Path) -> None:
    code = (
        "from onetape.data.utils.retry import exponential_backoff as f\n"
        "import src.data.cache.unified_cache as c, onetape.data.vendors.mock.bars as d\n"
        "print(f.__module__, c.__name__, d.__name__, d.__file__)"
    )
    said = as_user(["-W", "error", "-c", code], cwd=consumer, installed=editable).stdout
    assert said.split() == [
        "onetape.data.core.own_loops.retry",
        "onetape.data.core.cache.facade.unified_cache",
        "onetape.data.core.vendors.mock.bars",
        str(tree / "src" / "data" / "core" / "vendors" / "mock" / "bars.py"),
    ]


def test_older_paths_are_untyped_as_the_page_says(site: Path, tmp_path: Path) -> None:
    (tmp_path / "older.py").write_text(
        "import onetape.data.cache.unified_cache\n"
        "from onetape.data.utils.validation import ValidationResult\n"
        "from onetape.data.feed.base_live_data_feed import BaseLiveDataFeed\n"
        "from onetape.data.model.bars import Bar  # type: ignore[import-not-found]\n"
    )
    (tmp_path / "newer.py").write_text(
        "from onetape import DataManager\nfrom onetape.data.feed import BaseLiveDataFeed\n"
    )
    said = run(
        ["-m", "mypy", "--follow-imports=skip", "--cache-dir", os.devnull, "older.py", "newer.py"],
        cwd=tmp_path, check=False, variables={"MYPYPATH": str(site)},
    ).stdout  # fmt: skip
    found = re.findall(
        r"^(\w+\.py:\d+): error: .* named \"([\w.]+)\"  \[(.*)\]$", said, re.MULTILINE
    )
    kind = "import-not-found"
    assert [one for one in found if one[1] != "onetape.data.cache"] == [
        ("older.py:1", "onetape.data.cache.unified_cache", kind),
        ("older.py:2", "onetape.data.utils.validation", kind),
        ("older.py:3", "onetape.data.feed.base_live_data_feed", kind),
    ], said


# --- the wheel beside other projects, and its link --------------------------------------------


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return the Python of an environment with the wheel, and its ``site-packages``."""
    return environment_with(wheel, tmp_path_factory.mktemp("environment") / "env")


@pytest.fixture
def linked(environment: tuple[Path, Path], tmp_path: Path) -> Iterator[Path]:
    """Yield the Python of the environment while ``src.data`` is linked there."""
    python, packages = environment
    run(["-m", "onetape", "link"], cwd=tmp_path, python=python)
    yield python
    said = run(["-m", "onetape", "link", "--remove"], cwd=tmp_path, python=python)
    assert said.stdout == f"removed {packages / 'onetape-link.pth'}\n"


# Files of a project, its module that is run, and what its error about the link names.
PROJECTS = {
    "a folder src/data": (["src/data/make.py"], "src.data.make", "src/data"),
    "a package src": (["src/__init__.py", "src/train.py"], "src.train", "src/__init__.py"),
    "a package src.data": (
        ["src/__init__.py", "src/data/__init__.py", "src/data/make.py"],
        "src.data.make",
        "src/data/__init__.py",
    ),
}


@pytest.mark.parametrize("project", PROJECTS)
def test_a_project_runs_as_before_and_onetape_works_in_it(
    project: str, environment: tuple[Path, Path], tmp_path: Path
) -> None:
    files, module, place = PROJECTS[project]
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / files[-1]).write_text("print('theirs', __name__)\n")
    python, packages = environment
    assert run(["-m", module], cwd=tmp_path, python=python).stdout == "theirs __main__\n"
    for code in (f"import onetape, {module}; {RULES}", f"import {module}, onetape; {RULES}"):
        said = run(["-c", code], cwd=tmp_path, python=python).stdout
        assert said == f"theirs {module}\nbinance\n"
    refused = run(["-m", "onetape", "link"], cwd=tmp_path, python=python, check=False)
    assert refused.returncode == 2
    assert f"from {tmp_path / place}, and can import only one" in refused.stderr
    assert not (packages / "onetape-link.pth").exists()


@pytest.mark.parametrize("first", ["onetape", "src.data", "onetape.data.utils.retry"])
@pytest.mark.parametrize("is_checkout_first", [True, False])
def test_a_program_that_finds_a_checkout_and_a_wheel_loads_one_of_them(
    first: str, is_checkout_first: bool, environment: tuple[Path, Path], tree: Path, tmp_path: Path
) -> None:
    python, packages = environment
    add = (
        f"sys.path.insert(0, {str(tree)!r})"
        if is_checkout_first
        else f"sys.path.append({str(tree)!r})"
    )
    code = (
        f"import sys; {add}\nimport {first}, onetape, src.data\n"
        "from onetape.data.vendors.mock.bars import MockDataDownloader as a\n"
        "from src.data.core.vendors.mock.bars import MockDataDownloader as b\n"
        "print(a is b, src.data is onetape.data)\n"
        "ours = [m for n, m in sys.modules.items() if n.split('.')[0] in ('src', 'onetape')]\n"
        "print(*{m.__file__ for m in ours if getattr(m, '__file__', None)})"
    )
    same, files = run(["-c", code], cwd=tmp_path, python=python).stdout.splitlines()
    assert same == "True True"
    home = tree if is_checkout_first else packages
    assert [name for name in files.split() if not Path(name).is_relative_to(home)] == []


def test_a_folder_of_files_named_src_data_does_not_prevent_the_link(
    linked: Path, consumer: Path
) -> None:
    again = run(["-m", "onetape", "link", "--json"], cwd=consumer, python=linked)
    assert json.loads(again.stdout)["linked"] is True
    code = "import src.data; from src.strategies.ours import NAME; print(src.data.__name__, NAME)"
    assert run(["-c", code], cwd=consumer, python=linked).stdout == "onetape.data ours\n"


def test_older_import_paths_work_only_while_they_are_linked(
    environment: tuple[Path, Path], linked: Path, tmp_path: Path
) -> None:
    lines = [
        f"from src.data.{path} import {', '.join(names.split())}" for path, names in DEEP_PATHS
    ]
    lines += [
        f"from src.data import {', '.join(set(src.data.__all__))}",
        "import src.data, onetape",
    ]
    lines.append("print(src.data is onetape.data, src.data.__file__)")
    script = tmp_path / "older.py"
    script.write_text("\n".join(lines))
    home = environment[1] / "onetape" / "data" / "__init__.py"
    assert run(["-I", str(script)], cwd=tmp_path, python=linked).stdout == f"True {home}\n"
    run(["-m", "onetape", "link", "--remove"], cwd=tmp_path, python=linked)
    refused = run(["-I", str(script)], cwd=tmp_path, python=linked, check=False)
    assert "No module named 'src'" in refused.stderr
    run(["-m", "onetape", "link"], cwd=tmp_path, python=linked)


@pytest.mark.parametrize("path", ["src.data.utils.populate_cache", "src.data.cache.populate_cache"])
def test_older_module_paths_run_as_commands(path: str, linked: Path, tmp_path: Path) -> None:
    said = run(["-W", "error", "-m", path, "--help"], cwd=tmp_path, python=linked)
    assert "--symbols" in said.stdout
    assert "--tickers" in said.stdout
    assert said.stderr == "", "runpy warns when a package has already imported what it runs"


def test_pickles_load_beside_the_other_form(environment: tuple[Path, Path], tmp_path: Path) -> None:
    python, packages = environment
    assert not (packages / "onetape-link.pth").exists()
    values = [src.data.QueryError("x", hint="y"), src.data.DataManager, Timeframe.parse("1d")]
    (tmp_path / "checkout").write_bytes(pickle.dumps(values))
    code = (
        "import pickle; from pathlib import Path\n"
        "values = pickle.loads(Path('checkout').read_bytes()); print(values)\n"
        "Path('wheel').write_bytes(pickle.dumps(values))"
    )
    said = run(["-c", code], cwd=tmp_path, python=python).stdout
    assert said == f"{values}\n"
    back = pickle.loads((tmp_path / "wheel").read_bytes())
    assert (type(back[0]), back[0].hint, back[1:]) == (src.data.QueryError, "y", values[1:])


def test_a_folder_without_path_lines_is_named_with_what_to_do_instead(
    site: Path, tmp_path: Path
) -> None:
    refused = as_user(["-m", "onetape", "link"], cwd=tmp_path, installed=site, check=False)
    folder = site / "onetape" / "_linked"
    assert refused.returncode == 2 and f"add {folder} to PYTHONPATH" in refused.stderr
    libraries = Path(sysconfig.get_path("purelib"))
    command = ["-S", "-m", "src.data", "--version"]
    said = run(command, cwd=tmp_path, path=[site, folder, libraries]).stdout
    assert said == f"onetape {__version__}\n"


def test_a_folder_that_cannot_be_written_is_a_storage_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_only(*_: object) -> None:
        error = StorageError("no")
        raise error from OSError(errno.EROFS, "read-only file system")

    monkeypatch.setattr(linking, "_PACKAGE", tmp_path / "onetape")
    monkeypatch.setattr(linking, "_FOLDER", tmp_path / "onetape" / "_linked")
    monkeypatch.setattr(linking, "_SITE", tmp_path)
    monkeypatch.setattr(linking, "_FILE", tmp_path / "onetape-link.pth")
    monkeypatch.setattr(linking.site, "getsitepackages", lambda: [str(tmp_path)])
    monkeypatch.setattr(linking, "_check_others", lambda: None)
    assert linking.link() == tmp_path / "onetape-link.pth"
    monkeypatch.setattr("src.data.core.disk.atomic.write_atomically", read_only)
    with pytest.raises(
        StorageError, match=r"onetape-link\.pth cannot be written.*PYTHONPATH instead"
    ):
        linking.link()


def test_the_link_of_a_checkout_is_not_needed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["link"]) == 0
    assert capsys.readouterr().out == "src.data is this checkout\n"


def test_an_archive_that_is_not_unpacked_is_named(wheel: Path, tmp_path: Path) -> None:
    refused = run(["-S", "-c", "import onetape"], cwd=tmp_path, path=[wheel], check=False)
    assert f"cannot be imported from the archive {wheel}" in refused.stderr


# Each starts a program that imports the library.
STARTED = (
    "show/charts/test_pictures.py::test_only_a_picture_loads_the_drawing_library",
    "cli/test_main.py::test_a_full_disk_behind_the_screen_is_one_line",
    "cli/test_main.py::test_commands_that_show_no_frame_load_no_pandas",
    "cli/test_main.py::test_help_loads_no_heavy_package",
    "cli/test_main.py::test_the_list_of_commands_loads_nothing_but_the_parser",
    "core/config/test_rules_file.py::TestAsRead::test_yaml_is_not_even_loaded",
    "contract/test_readme.py::test_its_blocks_run_after_its_own_line_that_installs",
    "db/test_universe_bars.py::test_a_batch_without_a_universe_loads_no_database",
    "e2e/test_keys.py::test_keys_in_a_file_count_only_if_they_are_exported",
    "core/hosts/test_hosts.py::test_without_a_shared_store_none_of_its_modules_is_loaded",
    "core/net/test_state.py::TestTheFile::test_a_hit_in_the_cache_does_not_load_the_database",
    "core/observability/test_logs.py::test_the_library_attaches_no_handler_that_writes",
    "core/vendors/test_network.py::test_a_manager_alone_loads_no_network",
    "core/vendors/test_offered_vendors.py::"
    "test_importing_the_package_and_loading_rules_reads_no_package_metadata",
    "doors/yf/test_scripts.py::"
    "test_the_yf_import_works_without_yfinance_and_onetape_does_not_load_pandas",
)


def test_programs_that_tests_start_run_with_the_wheel(site: Path, tmp_path: Path) -> None:
    """Tests from the checkout; the programs that they start find the wheel on their path instead."""
    installed, work = shutil.copytree(site, tmp_path / "site"), tmp_path / "work"
    work.mkdir()
    witness = tmp_path / "imported"
    with (installed / "onetape" / "__init__.py").open("a", encoding="utf-8") as file:
        file.write(f"\nopen({str(witness)!r}, 'a').write('imported\\n')\n")
    path = os.pathsep.join(map(str, (installed, installed / "onetape" / "_linked")))
    said = run(
        ["-m", "pytest", "-p", "no:cacheprovider", "-c", str(ROOT / "setup.cfg"),
         *(str(ROOT / "tests" / name) for name in STARTED)],
        cwd=work, check=False,
        variables={"ONETAPE_INSTALLED": path, "PYTEST_DEBUG_TEMPROOT": str(tmp_path)},
    )  # fmt: skip
    assert said.returncode == 0, said.stdout
    # Some are forked from one process, which has imported it.
    assert len(witness.read_text("utf-8").splitlines()) >= 12
