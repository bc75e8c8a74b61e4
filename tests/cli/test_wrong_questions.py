"""Invalid arguments of commands: exit code 2, one clear sentence, and no request to a vendor."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.vendor_server import VendorServer

LONG = "A" * 65


@pytest.mark.parametrize(
    "words, said",
    [
        (["AAPL", "1x"], ["'1x'", "1d"]),
        (["AAPL", "1S"], ["'1S'"]),
        (["", "1d"], ["symbol", "empty"]),
        ([LONG, "1d"], ["65 characters", "64"]),
        (["EURUSD", "1d"], ["ambiguous", "EUR/USD", "EURUSDT"]),
        (["../x", "1d"], ["'../x'"]),
        (["AAPL", "1d", "--start", "2024-06-05", "--end", "2024-06-03"],
         ["AAPL", "'2024-06-03'", "is before", "'2024-06-05'"]),
        (["AAPL", "1d", "--start", "2031-01-01"], ["AAPL", "'2031-01-01'", "future"]),
        (["AAPL", "1d", "--start", "some day"], ["'some day'", "not a time", "-30d"]),
        (["AAPL", "1d", "--start", "-30x"], ["'-30x'", "not a time"]),
        (["AAPL", "1d", "--period", "soon"], ["period 'soon'", "not a duration"]),
        (["AAPL", "1d", "--period", "-5d"], ["period '-5d'", "not a duration", "30d"]),
        (["AAPL", "-5d", "--bars", "3"], ["timeframe '-5d'"]),
        (["AAPL", "1d", "--period", "1y", "--start", "2024"], ["cannot be used together"]),
        (["AAPL", "1d", "--start", "2024-06-03", "--bars", "5"], ["bars 5", "cannot be combined"]),
        (["AAPL", "1d", "--provider", "yahooo"], ["'yahooo'", "'yahoo'"]),
        (["AAPL", "1d", "--provider", "binance"],
         ["serves no stock", "No suitable provider", "`onetape providers` shows"]),
        (["AAPL", "1d", "--provider", "alpaca"], ["'alpaca'", "needs a key", "ALPACA_API_KEY"]),
        (["AAPL", "1d", "--provider", "local"], ["no folder is set", "providers.local.folder"]),
        (["日本", "1d"], ["日本"]),
    ],
)  # fmt: skip
def test_a_wrong_question_is_exit_2(
    words: list[str], said: list[str], run: Run, vendors: VendorServer
) -> None:
    ran = run("fetch", *words)
    assert ran.code == 2
    assert ran.out == ""
    assert [text for text in said if text not in ran.err] == []
    assert vendors.count() == 0


@pytest.mark.parametrize(
    "words, said",
    [
        (["cache", "clear", "AAPL", ""], "timeframe is empty"),
        (["cache", "clear", "", "--all"], "symbol is empty"),
        (["cache", "repair", " "], "symbol is empty"),
        (["cache", "list", "--cache-dir", ""], "cache-dir is empty"),
        (["fetch", "AAPL", "1d", "--config", ""], "config is empty"),
        (["fetch", "AAPL", "1d", "--csv", ""], "csv is empty"),
        (["providers", "--probe", ""], "probe is empty"),
        (["fundamentals", ""], "symbol is empty"),
        (["fundamentals", "../x"], "'../x' is malformed"),
        (["fundamentals", "AAPL", "--type", "nope"], "unknown data type 'nope'"),
        (["fundamentals", "AAPL", "--as-of", "soon"], "invalid as_of 'soon'"),
        (["fetch", "AAPL", "1d", "--offline", "--refresh"], "not allowed with"),
        (["replay", "AAPL", "1d", "--offline", "--refresh"], "not allowed with"),
        (["fetch", "AAPL", "1d", "--parquet", "-"], "Parquet cannot be written to standard output"),
        (["fetch", "AAPL", "1d", "--csv", "-", "--json"], "both write to standard output"),
        (["fetch", "AAPL", "1d", "--csv", "a", "--parquet", "./a"], "name the same file: a"),
        (["doctor", "--every", "1"], "--every needs --watch"),
        (["providers", "--matrix", "--probe"], "not allowed with"),
        (["cache", "export", "AAPL", "1d", "--out", "-"], "cannot export to standard output: '-'"),
        (["stream", "AAPL", "1d", "--provider", "yahooo"], "unknown provider 'yahooo'"),
        (["stream", "AAPL", "1d", "--rows", "999999999"], "go back beyond 1900"),
    ],
)
def test_empty_or_exclusive_arguments_are_refused_and_not_guessed(
    words: list[str], said: str, bare: Run, vendors: VendorServer
) -> None:
    ran = bare(*words)
    assert (ran.code, "--json" in words or not ran.out) == (2, True)
    assert said in ran.err
    assert vendors.count() == 0


def test_all_mistakes_of_a_rules_file_are_named(bare: Run, tmp_path: Path, cache: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("crypto:\n  primry: binance\n  backup: [yahooo]\nversion: 1\nversion: 1\n")
    for command in (["fetch", "AAPL", "1d"], ["providers"], ["cache", "list"],
                    ["populate", "--symbols", "AAPL"], ["demo", "--offline"]):  # fmt: skip
        ran = bare(*command, "--config", str(path), "--cache-dir", str(cache))
        assert ran.code == 2
        assert "3 mistakes" in ran.err
        for said in ("primry", "primary", "line 2", "yahooo", "did you mean yahoo", "line 3",
                     "version", "line 5"):  # fmt: skip
            assert said in ran.err


def test_the_mistakes_are_a_list_for_machines(bare: Run, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("crypto:\n  primry: binance\n  backup: [yahooo]\n")
    problems = bare("providers", "--json", "--config", str(path)).json["error"]["problems"]
    assert len(problems) == 2


def test_a_rules_file_that_is_not_there_is_named(bare: Run, tmp_path: Path) -> None:
    ran = bare("providers", "--config", str(tmp_path / "none.yaml"))
    assert ran.code == 2
    assert "none.yaml" in ran.err
    assert "does not exist" in ran.err


@pytest.mark.parametrize("words", [
    ["fetch", "AAPL", "1d", "--bars", "x" * 100_000],
    ["fetch", "AAPL", "1d", "--bars", "9" * 5_000],
    ["verify", "AAPL", "1d", "--timeout", "x y " * 25_000],
    ["doctor", "--log", "x" * 100_000],
    ["doctor", "--cache-dir", "x" * 100_000],
    ["db", "backup", "x" * 100_000],
    ["x" * 100_000],
])  # fmt: skip
def test_no_value_of_the_command_line_makes_a_message_long(words: list[str], bare: Run) -> None:
    asked = bare(*words)
    assert asked.code in (1, 2)
    assert 10 < len(asked.err) < 1_500


@pytest.mark.parametrize("words", [
    ["fetch", "1d", "AAPL"], ["plan", "1d", "AAPL"], ["gaps", "1d", "AAPL"], ["validate", "1d", "AAPL"],
    ["verify", "1d", "AAPL"], ["stream", "1d", "AAPL"], ["cache", "info", "1d", "AAPL"],
    ["cache", "log", "1d", "AAPL"], ["cache", "clear", "1d", "AAPL"], ["cache", "repair", "1d", "AAPL"],
    ["cache", "quarantine", "purge", "1d", "AAPL"], ["cache", "export", "1d", "AAPL", "--out", "x.csv"],
    ["sessions", "2024-01-02", "2024-01-05", "AAPL"], ["fetch", "AAPL", "1d", "2024-01-01"],
])  # fmt: skip
def test_arguments_in_the_wrong_place_are_named(
    words: list[str], run: Run, vendors: VendorServer
) -> None:
    ran = run(*words)
    assert (ran.code, ran.out) == (2, "")
    assert len(ran.err.splitlines()) == 2
    assert any(f"'{word}'" in ran.err for word in words[1:])
    assert vendors.count() == 0
