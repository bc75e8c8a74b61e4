"""What a user gets: the wheel in an empty folder, the editable form beside their own `src`."""

from __future__ import annotations

import io
import re
import tarfile
import zipfile
from pathlib import Path

import pytest

from src.data import __version__
from tests.contract.source import PACKAGE, ROOT
from tests.packaging.build import as_user, build, build_editable, copy_tree, dist, unpack
from tests.pages import SKILL

pytestmark = pytest.mark.slow

DOCUMENTATION = "src/data/documentation/"
WHERE = "import src.data; print(src.data.__file__)"
RULES = "from src.data import ProviderSelector as P; print(P().rules['crypto']['primary'])"


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_tree(tmp_path_factory.mktemp("source") / "tree")


@pytest.fixture(scope="module")
def wheel(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
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
    sources = {f"src/data/{p.relative_to(PACKAGE).as_posix()}" for p in PACKAGE.rglob("*.py")}
    assert sources - names == set()
    assert {"src/data/py.typed", "src/data/default_config/provider_rules.yaml"} <= names
    assert "src/__init__.py" not in names
    face = {f"onetape/{p.name}" for p in (ROOT / "onetape").iterdir() if p.suffix}
    assert face <= names and "onetape/py.typed" in face
    ours = ("src/data/", "onetape/")
    strangers = {n for n in names if not n.startswith(ours) and ".dist-info/" not in n}
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
    for module in ("onetape", "src.data"):
        said = as_user(["-m", module, "--version"], cwd=tmp_path, installed=site).stdout
        assert said == f"onetape {__version__}\n"


def test_the_command_is_declared(site: Path) -> None:
    (entry_points,) = site.glob("*.dist-info/entry_points.txt")
    assert "onetape = onetape.__main__:main" in entry_points.read_text("utf-8")


def test_the_documentation_is_in_the_wheel(wheel: Path, site: Path, tmp_path: Path) -> None:
    docs = ROOT / "docs"
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    pages = {p.relative_to(docs).as_posix() for p in docs.rglob("*.md")} | {"llms.txt"}
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
            f"src/data/charts/lightweight-charts.{end}" for end in ("js", "LICENSE", "NOTICE")
        }
        assert beside < set(archive.namelist())
    assert "License-Expression: MIT AND Apache-2.0\n" in head and "License-File: LICENSE\n" in head
    assert "URL" not in head and "Home-page" not in head
    assert "`onetape docs`" in description
    assert not re.findall(r"\]\((?!https?:|#)", description) and "![" not in description


def test_the_packaged_rules_are_read_from_the_wheel(site: Path, tmp_path: Path) -> None:
    packaged = (
        "from importlib.resources import files;"
        "print(files('src.data.default_config').joinpath('provider_rules.yaml'));"
    )
    said = as_user(["-c", packaged + RULES], cwd=tmp_path, installed=site).stdout.splitlines()
    assert said[0].startswith(str(site)) and said[1:] == ["binance"]


def test_the_editable_form_is_one_path_line(editable: Path, tree: Path) -> None:
    (line,) = editable.glob("*.pth")
    assert Path(line.read_text("utf-8").strip()) == tree
    assert not list(editable.glob("*finder*"))


@pytest.mark.parametrize("form", ["site", "editable"])
def test_the_package_works_beside_a_consumers_own_src(
    form: str, consumer: Path, request: pytest.FixtureRequest, tree: Path
) -> None:
    installed: Path = request.getfixturevalue(form)
    ours = f"{WHERE}; from src.strategies.ours import NAME; print(NAME); {RULES}"
    said = as_user(["-c", ours], cwd=consumer, installed=installed).stdout.splitlines()
    home = tree if form == "editable" else installed
    assert said == [str(home / "src" / "data" / "__init__.py"), "ours", "binance"]


def test_two_installed_portions_share_the_namespace(site: Path, consumer: Path) -> None:
    both = "import src, src.data, src.strategies.ours; print(*src.__path__, sep='\\n')"
    portions = as_user(["-c", both], cwd=consumer, installed=site).stdout.splitlines()
    assert portions[:2] == [str(consumer / "src"), str(site / "src")]


def test_src_data_hidden_by_a_consumers_init_is_found_after_import_onetape(
    site: Path, consumer: Path
) -> None:
    hiding = consumer / "src" / "__init__.py"
    hiding.touch()
    (consumer / "src" / "data" / "prices.csv").unlink()
    (consumer / "src" / "data").rmdir()
    refused = as_user(["-c", WHERE], cwd=consumer, installed=site, check=False)
    assert "No module named 'src.data'" in refused.stderr
    said = as_user(["-c", f"import onetape; {WHERE}"], cwd=consumer, installed=site).stdout
    assert said.startswith(str(site)), "onetape adds our folder to that package's path"
    hiding.write_text('__path__ = __import__("pkgutil").extend_path(__path__, __name__)\n')
    assert as_user(["-c", WHERE], cwd=consumer, installed=site).stdout.startswith(str(site))


@pytest.mark.parametrize("path", ["src.data.utils.populate_cache", "src.data.cache.populate_cache"])
def test_older_module_paths_run_as_commands(path: str, site: Path, tmp_path: Path) -> None:
    said = as_user(["-m", path, "--help"], cwd=tmp_path, installed=site)
    assert "--symbols" in said.stdout
    assert "--tickers" in said.stdout
    assert said.stderr == "", "runpy warns when a package has already imported what it runs"
