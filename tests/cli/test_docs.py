"""``onetape docs``: the packaged pages in a terminal and as JSON, and the example of a page."""

from __future__ import annotations

from pathlib import Path

import pytest

from src.data.core.config import packaged
from src.data.core.disk import atomic
from src.data.core.disk.files import Disk
from src.data.errors import StorageError
from src.data.jobs.doctor.documentation import all_pages
from tests.cli.conftest import Run
from tests.contract.source import ROOT

DOCS = ROOT / "docs"


@pytest.fixture
def run(bare: Run) -> Run:
    """Return a runner without rules and cache: the command reads neither."""
    return bare


def test_the_list_names_every_page(run: Run) -> None:
    shown = run("docs")
    assert shown.code == 0 and "glossary" in shown.out
    names = [row["page"] for row in run("docs", "--json").json]
    assert sorted(names) == sorted(path.stem for path in DOCS.rglob("*.md"))
    assert len(set(names)) == len(names), "a name is one page"
    listed = {row["page"]: row for row in run("docs", "--json").json}
    assert listed["bars"]["group"] == "Guides" and "total return" in listed["bars"]["line"]


def test_a_page_is_markdown_in_a_pipe_and_in_json(run: Run) -> None:
    text = (DOCS / "gaps.md").read_text("utf-8")
    assert run("docs", "gaps").out == text
    assert run("docs", "GAPS.md").out == text
    assert run("docs", "gaps", "--json").json["text"] == text
    reference = run("docs", "reference").out
    assert "`get_ohlcv`" in reference and ":::" not in reference


@pytest.mark.parametrize("name, file", [("readme", "README.md"), ("llms", "docs/llms.txt")])
def test_readme_and_the_list_for_programs_are_printed(name: str, file: str, run: Run) -> None:
    assert run("docs", name).out == (ROOT / file).read_text("utf-8")
    assert name not in [page.name for page in all_pages()]


def test_a_page_is_formatted_on_a_terminal(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    shown = run("docs", "glossary")
    assert (
        "\x1b[" in shown.out and "### Provisional" not in shown.out and "Provisional" in shown.out
    )


def test_the_name_of_an_earlier_page_shows_the_page_that_has_its_text(run: Run) -> None:
    shown = run("docs", "quotes", "--json").json
    assert shown["page"] == "look-up" and "get_quote" in shown["text"]
    assert run("docs", "precision.md").out == (DOCS / "validation.md").read_text("utf-8")


@pytest.mark.parametrize("name", ["vendors/../bars", "../../etc/passwd", "qqzz", "a\x1b[31m"])
def test_an_unknown_page_or_word_is_refused(name: str, run: Run) -> None:
    refused = run("docs", name)
    assert refused.code == 2 and refused.out == ""
    assert (
        "no page has the name or contains the words" in refused.err
        and "`onetape docs` lists" in refused.err
    )
    assert "\x1b" not in refused.err
    assert run("docs", name, "--json").json["error"]["type"] == "QueryError"


def test_the_nearest_name_is_offered(run: Run) -> None:
    assert "did you mean 'bars'?" in run("docs", "bras").err
    assert "did you mean 'yahoo'?" in run("docs", "vendors/yahooo").err, "a page of before"


@pytest.mark.parametrize(
    "words, page, text",
    [
        ("sql", "command", "onetape sql"),
        ("verify", "command", "onetape verify AAPL 1d"),
        ("rsi", "features", "rsi:14"),
    ],
)
def test_a_command_and_whole_words_come_first(run: Run, words: str, page: str, text: str) -> None:
    found = run("docs", words, "--json").json
    (own,) = [one for one in found[:2] if one["page"] == page]
    assert text in own["text"]
    if words == "sql":
        assert found[1]["page"] == "bundles" and found[1]["section"] == "SQL"
    assert "compatibility" not in [one["page"] for one in found if words == "rsi"]


def test_words_are_searched_for(run: Run) -> None:
    """All of them, in either case; a page about them first, with the section and the line."""
    found = run("docs", "SURVIVORSHIP", "--json").json
    assert [one["page"] for one in found][:1] == ["universes"] and len(found) > 1
    assert not any(one["page"] == "keys" for one in found)
    both = run("docs", "half-open", "inclusive", "--json").json
    pages = {one["page"] for one in both}
    assert pages < {one["page"] for one in run("docs", "inclusive", "--json").json}
    shown = run("docs", "survivorship").out
    assert "universes" in shown and "`onetape docs universes` shows the first" in shown
    (line,) = run("docs", "RUSTYBT", "--json").json
    assert line["page"] == "compatibility", "older names are shown nowhere else"
    assert "RUSTYBT_USE_POLARS" in line["text"] and line["section"] == "Older names"


def test_docs_without_packaged_pages_is_an_error(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    all_pages.cache_clear()
    monkeypatch.setattr(packaged, "PAGES", tmp_path)
    try:
        refused = run("docs")
    finally:
        all_pages.cache_clear()
    assert refused.code == 1 and "reinstall the package" in refused.err


# --- the example -----------------------------------------------------------------------------

EXAMPLE = {path.name: path.read_bytes() for path in (ROOT / "examples/telegram_bot").glob("*.py")}


def test_the_example_is_written_into_a_new_or_an_empty_folder(run: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("new", "empty"):
        wrote = run("docs", "telegram-bot", "--example", str(tmp_path / name))
        assert (wrote.code, wrote.out) == (0, f"{tmp_path / name}\n")
        assert {one.name: one.read_bytes() for one in (tmp_path / name).iterdir()} == EXAMPLE
    made = run("docs", "telegram-bot.md", "--example", str(tmp_path / "json"), "--json").json
    assert made == {"folder": str(tmp_path / "json"), "files": sorted(EXAMPLE)}


def test_docs_example_overwrites_no_folder_or_file(run: Run, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "bot.py").write_text("mine")
    for place in (mine, mine / "bot.py"):
        refused = run("docs", "telegram-bot", "--example", str(place), "--json")
        assert refused.code != 0 and refused.json["error"]["type"] == "StorageError"
        assert "exists and is not an empty folder" in refused.json["error"]["message"]
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    assert {path.name: path.read_text() for path in mine.iterdir()} == {"bot.py": "mine"}


@pytest.mark.parametrize(
    ("words", "kind", "text"),
    [
        (("gaps",), "QueryError", "page gaps has no example"),
        ((), "QueryError", "no page is given"),
        (("telegramm",), "QueryError", "onetape docs telegram-bot --example DIR"),
    ],
)
def test_a_page_without_an_example(
    run: Run, tmp_path: Path, words: tuple[str, ...], kind: str, text: str
) -> None:
    refused = run("docs", *words, "--example", str(tmp_path / "new"), "--json").json["error"]
    assert refused["type"] == kind and text in f"{refused}"
    assert not [*tmp_path.iterdir()]


def test_an_example_is_written_whole_or_not_at_all(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "does not exist" in run("docs", "telegram-bot", "--example", str(tmp_path / "a/b")).err
    write = atomic.write_atomically

    def full(disk: Disk, path: Path, data: bytes) -> None:
        write(disk, path, data)
        raise StorageError(f"cannot write {path}: No space left on device")

    monkeypatch.setattr(atomic, "write_atomically", full)
    refused = run("docs", "telegram-bot", "--example", str(tmp_path / "new"))
    assert refused.code != 0 and "No space left" in refused.err
    assert not [*tmp_path.iterdir()]
