"""The parser: suggestions for mistyped words, and examples in every help that can be run as typed."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Iterator
from functools import cache

import pytest

from src.data import cli
from src.data.cli import COMMANDS
from src.data.cli.parser import Parser
from tests.cli.conftest import Run
from tests.programs import ROOT
from tests.vendor_server import Fault, VendorServer

# It keeps nothing of what it parses, and takes 50 ms to build.
whole_parser = cache(cli.whole_parser)


def parsers(parser: argparse.ArgumentParser) -> Iterator[Parser]:
    """Yield a parser and those of its commands."""
    assert isinstance(parser, Parser)
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from parsers(command)


@pytest.mark.parametrize(
    "words, said",
    [
        (["fetsch"], "there is no command 'fetsch' (did you mean 'fetch'? known: fetch, "),
        (["zzzz"], "there is no command 'zzzz' (known: fetch, "),
        (["db"], "required: ACTION (one of: init, upgrade, check, backup, symbols, universe)"),
        (["cache", "help"], "onetape cache: there is no action 'help' (known: "),
        (["stream", "AAPL", "1d", "--speed", "0"], "--speed needs --replay"),
        (["fetch", "AAPL", "1d", "--zzzz", "2024"], "unknown: --zzzz 2024 (options: --help --start"),
        (["actions", "AAPL", "--zzzz"], "fundamentals: unknown: --zzzz (options: --help --type"),
        (["ingest", "nothing-like-it", "--help"], "Unknown data source 'nothing-like-it'"),
        (["cache", "lits"], "onetape cache: there is no action 'lits' (did you mean 'list'? "),
        (["fetch", "AAPL", "1d", "--ofline"], "unknown: --ofline (did you mean --offline?)"),
        (["cache", "list", "--chekc"], "onetape cache list: unknown: --chekc (did you mean --check?)"),
        (["fetch", "AAPL", "1d", "--jsom=1", "--zz"], "--jsom=1 --zz (did you mean --json?)"),
        (["--rules", "x", "hosts", "status"], "onetape: unknown: --rules (options: --help --version"),
        (["--lgo", "json", "doctor"], "onetape: unknown: --lgo (did you mean --log?)"),
        (["--log", "json", "fetsch"], "there is no command 'fetsch' (did you mean 'fetch'? "),
        (["cache", "--zz", "x", "list"], "cache: unknown: --zz (options: --help)"),
        (["--versoin"], "onetape: unknown: --versoin (did you mean --version?)"),
        (["fetch", "AAPL", "1d", "--adjustment", "splitt"], "--adjustment: there is no value 'splitt' "
         "(did you mean 'split'? known: raw, split, all)"),
        (["fetch", "AAPL", "MSFT", "--bars", "3", "1d"], "unknown: 1d (put all symbols and values together)"),
        (["doctor", "now"], "onetape doctor: unknown: now (options: --help --no-network"),
    ],
)  # fmt: skip
def test_a_mistyped_word_gets_a_suggestion(words: list[str], said: str, bare: Run) -> None:
    ran = bare(*words)
    assert (ran.code, ran.out) == (2, "")
    assert said in ran.err


@pytest.mark.parametrize(
    "words",
    [
        ["fetch", "AAPL", "1d", "--bars", "0"],
        ["fetch", "AAPL", "1d", "--bogus"],
        ["fetch"],
        ["fetsch", "AAPL"],
        ["cache", "lits"],
    ],
    ids=" ".join,
)
def test_with_json_an_error_of_the_parser_is_a_document_too(words: list[str], bare: Run) -> None:
    plain, ran = bare(*words), bare(*words, "--json")
    assert (plain.code, plain.out, ran.code) == (2, "", 2)
    error = ran.json["error"]
    assert (error["type"], error["reason"]) == ("QueryError", "question")
    message, hint = ran.err.rstrip("\n").split("\n  ")
    assert message.endswith(f": {error['message'].removesuffix(f' ({hint})')}")
    assert (error["hint"], ran.err.replace(" --json`", "`")) == (hint, plain.err)


def test_a_mistyped_word_is_shown_with_escapes(bare: Run) -> None:
    ran = bare("fetch", "AAPL", "1d", "--\x1b[31m")
    assert (ran.code, "\x1b" in ran.err, r"\x1b[31m" in ran.err) == (2, False, True)


def test_every_command_has_two_examples_that_can_be_typed() -> None:
    whole = whole_parser()
    commands = {parser.prog.partition(" ")[2]: parser for parser in parsers(whole)}
    for name in ("", *COMMANDS):
        assert len(commands[name].examples) == 2
        for example in commands[name].examples:
            assert f"\n  onetape {example}\n" in commands[name].format_help()
            assert example.startswith(name)
            whole.parse_args(shlex.split(example))


# What the designs and older versions print, and one option that shows what answers.
OLDER = (
    (["ingest", "yfinance", "--symbols", "AAPL", "--bundle", "my-data"], "bundle ingest"),
    (["ingest", "migrate-hdf5-to-parquet", "--all"], "bundle migrate-hdf5-to-parquet"),
    (["lineage", "list"], "bundle lineage list"), (["explain", "AAPL", "1d"], "plan"),
    (["coverage", "AAPL", "1d"], "gaps"), (["-q", "refresh", "--dry-run"], "populate"),
    (["replay", "BTCUSDT", "1h", "--speed", "0"], "stream"),
    (["actions", "KO", "--start", "2020-01-01"], "fundamentals"),
    (["futures", "BTCUSDT", "1h", "--what", "open-interest"], "fundamentals"),
    (["symbols", "show", "META"], "db symbols show"), (["universe", "list"], "db universe list"),
    (["completion", "bash"], "setup completion"), (["link", "--remove"], "setup link"),
)  # fmt: skip


@pytest.mark.parametrize("words, command", OLDER)
def test_another_spelling_of_a_command_is_not_listed_and_works(
    words: list[str], command: str, bare: Run
) -> None:
    ran = bare(*words, "--help")
    assert (ran.code, ran.out.split()[:2]) == (0, ["usage:", "onetape"])
    assert ran.out.startswith(f"usage: onetape {command} ")
    assert whole_parser().parse_args(cli._usual_spelling(words)).run
    assert f"\n    {words[0]} " not in bare("--help").out


def test_every_option_and_action_is_explained_in_the_help() -> None:
    for parser in parsers(whole_parser()):
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                explained = {choice.dest for choice in action._choices_actions if choice.help}
                assert explained == {*action.choices}, parser.prog
            elif action.option_strings:
                assert action.help, (parser.prog, action.option_strings)


def test_quiet_prints_only_results_and_errors(run: Run, vendors: VendorServer) -> None:
    vendors.fault("binance", Fault.drop(3))
    words = ("fetch", "BTCUSDT", "1d", "--start", "2024-05-01", "--end", "2024-05-10")
    loud = run(*words)
    silent = run(*words, "-q")
    assert loud.code == silent.code == 1
    assert "incomplete" in loud.err and silent.err == ""
    assert "2024-05-01" in silent.out
    failed = run("fetch", "AAPL", "1x", "--quiet")
    assert (failed.code, "unknown timeframe" in failed.err) == (2, True)
    both = run("fetch", "AAPL", "1d", "-q", "-v")
    assert (both.code, "cannot be used together" in both.err) == (2, True)


def test_quiet_before_the_command_counts_too(run: Run, vendors: VendorServer) -> None:
    words = ("--symbols", "BTCUSDT", "--timeframes", "1d", "--start-date", "2024-05-01")
    assert "1/1" in run("populate", *words).err
    assert run("-q", "populate", *words, "--end-date", "2024-06-01").err == ""


@pytest.mark.parametrize("start, end, refresh", [
    ("--start", "--end", "--refresh"), ("--start-date", "--end-date", "--force-refresh"),
])  # fmt: skip
def test_options_have_a_short_and_a_long_name(
    start: str, end: str, refresh: str, run: Run, vendors: VendorServer
) -> None:
    words = ("BTCUSDT", "1d", start, "2024-05-01", f"{end}=2024-05-10", "--json")
    first = run("fetch", *words)
    assert [row["timestamp"][:10] for row in first.json["bars"]][::9] == [
        "2024-05-01",
        "2024-05-10",
    ]
    asked = vendors.count()
    assert run("fetch", *words).json["bars"] == first.json["bars"]
    assert vendors.count() == asked
    assert run("fetch", *words, refresh).code == 0
    assert vendors.count() > asked


@pytest.mark.parametrize("words", [
    ("fetch", "AAPL", "1d", "--start", "2024-05-01", "--start-date", "2024-05-01"),
    ("populate", "--symbols", "AAPL", "--end=2024-05-01", "--end-date", "2024-05-01"),
    ("fundamentals", "AAPL", "--refresh", "--force-refresh"),
    ("populate", "--symbols", "AAPL", "--force-refresh", "--refresh"),
])  # fmt: skip
def test_an_option_under_both_its_names_is_refused(words: tuple[str, ...], run: Run) -> None:
    ran = run(*words)
    assert (ran.code, ran.out) == (2, "")
    assert "are the same option: give only one of them" in ran.err
    assert run(*words, "--json").json["error"]["type"] == "QueryError"


def test_the_older_commands_have_no_examples_of_this_one() -> None:
    assert "examples" not in Parser(prog="populate_cache").format_help()


def _typed() -> Iterator[str]:
    """Yield each call of the command in a shell block of README and docs."""
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        for block in re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
            yield from (line for line in block.splitlines() if line.startswith("onetape "))


@pytest.mark.parametrize("line", list(_typed()))
def test_commands_on_the_pages_can_be_parsed(line: str) -> None:
    words = shlex.split(line.partition(" > ")[0], comments=True)[1:]
    whole_parser().parse_args(words)
