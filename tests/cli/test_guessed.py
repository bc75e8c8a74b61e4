"""Command lines as users of other tools guess them: the error has the right one, with their arguments."""

from __future__ import annotations

import shlex
import subprocess
import sys
from functools import cache
from importlib import import_module

import pytest

from src.data import cli
from src.data.cli import ALIASES, COMMANDS
from src.data.cli import _meant_line as meant_line
from src.data.core.guesses import COMMAND_GUESSES
from tests.cli.conftest import Run
from tests.programs import ROOT

whole_parser = cache(cli.whole_parser)
# A guess, and the line that its error names; empty if nothing is certain.
LINES = """
download AAPL
    fetch AAPL 1d
get AAPL 1h --limit 10
    fetch AAPL 1h --bars 10
history AAPL MSFT --period 1y
    fetch AAPL MSFT 1d --period 1y
bars BTC/USDT 1h
    fetch BTC/USDT 1h
AAPL
    fetch AAPL 1d
BRK.B 1w --json
    fetch BRK.B 1w --json
^GSPC
    fetch '^GSPC' 1d
US0378331005
    search US0378331005
-q AAPL 1h
    -q fetch AAPL 1h
--log json ls
    --log json cache list
list
    cache list
ls --json
    cache list --json
cache ls
    cache list
cache rm AAPL
    cache clear AAPL
cache delete AAPL 1d
    cache clear AAPL 1d
update
    sync
refresh AAPL
    fetch AAPL 1d --refresh
status
    doctor
config
    doctor
info AAPL
    fundamentals AAPL
get_splits AAPL --from 2020-01-01
    fundamentals AAPL --type actions --start 2020-01-01
chart AAPL 1d -o a.png
    plot AAPL 1d -o a.png
graph AAPL
    plot AAPL 1d
compare AAPL
    verify AAPL 1d
export AAPL
    fetch AAPL 1d --csv '{symbol}.csv'
export AAPL 1h -o out.csv
    fetch AAPL 1h --csv out.csv
delete AAPL
    cache clear AAPL
rm AAPL 1d
    cache clear AAPL 1d
version
    --version
-V
    --version
help
    --help
help fetch
    fetch --help
help download
    fetch --help
HELP cache
    cache --help
server
    serve
fetch
    fetch AAPL 1d --period 1y
fetch AAPL
    fetch AAPL 1d
fetch AAPL --interval 1h --period 5d
    fetch AAPL 1h --period 5d
fetch AAPL 1d --from 2012-01-01 --to 2012-01-10
    fetch AAPL 1d --start 2012-01-01 --end 2012-01-10
fetch AAPL 1d --since=-30d
    fetch AAPL 1d --start -30d
fetch AAPL 1d --source demo
    fetch AAPL 1d --provider demo
fetch AAPL 1d --vendor=demo
    fetch AAPL 1d --provider demo
fetch AAPL 1d -o out.csv
    fetch AAPL 1d --csv out.csv
fetch AAPL 1d --output out.parquet
    fetch AAPL 1d --parquet out.parquet
fetch AAPL 1d --format csv
    fetch AAPL 1d --csv -
fetch AAPL 1d --format json
    fetch AAPL 1d --json
fetch --tickers AAPL,IBM --interval 1d
    fetch AAPL IBM 1d
fetch AAPL,IBM 1d
    fetch AAPL IBM 1d
fetch AAPL 1 day --provider demo
    fetch AAPL 1d --provider demo
gaps AAPL 15 minutes
    gaps AAPL 15m
fetch 1d AAPL
    fetch AAPL 1d
fetch AAPL 1d --auto-adjust
    fetch AAPL 1d --adjustment all
fetch AAPL 1d --prepost
    fetch AAPL 1d --session extended
fetch AAPL 1d --strat 2012-01-01
    fetch AAPL 1d --start 2012-01-01
fetch AAPL 1d --tz America/New_York
    fetch AAPL 1d
fetch AAPL 1d --api-key k-123
    fetch AAPL 1d
fetch AAPL MSFT --bars 3 1d
    fetch AAPL MSFT 1d --bars 3
fetch "it's; rm -rf ~" 1d --since 2024
    fetch 'it'"'"'s; rm -rf ~' 1d --start 2024
fetch AAPL 1d --from '$(id)'
    fetch AAPL 1d --start '$(id)'
GET AAPL
    fetch AAPL 1d
FETCH AAPL
    fetch AAPL 1d
universe ls
    db universe list
fetch AAPL 1d --csv a.csv --start 2024 --limit 5
    fetch AAPL 1d --csv a.csv --start 2024 --bars 5
search --query apple
    search apple
"""
# Nothing is certain here, and no suggestion is better than a wrong one.
UNCERTAIN = (
    ["zzzz"], ["sesame"], ["sort", "AAPL"], ["cache"], ["db"], ["fetch", "AAPL", "1d", "--zzzz"],
    ["fetch", "AAPL", "1d", "--format", "xlsx"], ["fetch", "AAPL", "1d", "-o", "out.xlsx"],
    ["fetch", "AAPL", "1d", "--source"], ["quote", "ZZZZ", "--provider", "demo", "--zzzz"],
    ["download", "a\nb"], ["fetch", "\x1b[31m", "1d", "--since", "2024"], ["get", "A" * 500],
    ["cache", "export", "--for", "zipline", "x", "--cache-dir", "c"],
)  # fmt: skip
PAIRS = list(zip(LINES.splitlines()[1::2], map(str.strip, LINES.splitlines()[2::2]), strict=True))


@pytest.mark.parametrize("guess, line", PAIRS)
def test_a_guessed_command_line_is_answered_with_the_right_one(
    guess: str, line: str, bare: Run
) -> None:
    ran = bare(*shlex.split(guess))
    assert (ran.code, ran.err.splitlines()[-1]) == (2, f"  use `onetape {line}`")
    right = shlex.split(line)
    if right[-1] in ("--help", "--version"):
        assert bare(*right).code == 0
    else:
        assert whole_parser().parse_args(right).run
    assert meant_line(right) == "", "the right line needs no correction"
    assert "k-123" not in ran.err and "(known:" not in ran.err


@pytest.mark.parametrize("words", UNCERTAIN)
def test_no_line_is_suggested_if_none_is_certain(words: list[str], bare: Run) -> None:
    ran = bare(*words)
    assert ran.code == 2
    assert "use `" not in ran.err
    assert "\x1b" not in ran.err


@pytest.mark.parametrize("guess", ["version", "export", "config", "ls"])
def test_a_guess_is_not_taken_for_a_mistyped_command(guess: str, bare: Run) -> None:
    assert "did you mean" not in bare(guess).err


def test_every_guessed_command_is_one_that_the_parser_accepts() -> None:
    arguments = (["AAPL", "1d"], ["AAPL"], ["AAPL", "2024-01-02", "2024-01-03"], [])
    for guess in {*COMMAND_GUESSES} - {*COMMANDS}:
        if guess not in ALIASES or guess == "refresh":
            assert any(meant_line([guess, *words]) for words in arguments), guess


@pytest.mark.parametrize("command", COMMANDS)
def test_the_examples_of_the_help_need_no_correction(command: str) -> None:
    module = import_module(f"src.data.cli.{command}")
    for example in module.EXAMPLES:
        assert meant_line(shlex.split(example)) == ""


def test_a_line_that_a_query_error_rejects_is_corrected_too(bare: Run) -> None:
    """And one whose fault is another keeps the hint of its error."""
    assert bare("fetch", "AAPL,IBM", "1d").err.endswith("\n  use `onetape fetch AAPL IBM 1d`\n")
    error = bare("fetch", "AAPL,IBM", "1d", "--json").json["error"]
    assert (error["type"], error["hint"]) == (
        "BadSymbolError",
        "use `onetape fetch AAPL IBM 1d --json`",
    )
    isin = bare("fetch", "US0378331005", "1d")
    assert isin.code == 2 and "\n  `onetape search US0378331005` finds its symbol" in isin.err
    assert "use `" not in bare("fetch", "AAPL", "1d", "--start", "01/02/2012").err


def test_a_right_command_line_loads_no_guesses() -> None:
    code = (
        "import sys; from src.data.cli import main\n"
        "try: main(['fetch', '--help'])\n"
        "except SystemExit: pass\n"
        "assert 'src.data.cli.guessed' not in sys.modules\n"
        "assert 'onetape.data.cli.guessed' not in sys.modules\n"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
