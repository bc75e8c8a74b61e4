"""The command-line parser: suggestions for mistyped words, two examples in each help text."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

# The examples apply only to this program; the older commands have other names.
_PROGRAM = "onetape"
# Maps each command, with its action if it has any, to two example calls.
EXAMPLES = {
    "": ("demo", "fetch AAPL 1d --period 1y"),
    "fetch": ("fetch AAPL 1d --period 1y", "fetch AAPL MSFT BTCUSDT 1h --bars 100 --json"),
    "plot": ("plot AAPL 1d --period 1y -o aapl.png", "plot AAPL MSFT 1d --period 5y -o both.html"),
    "report": ("report AAPL 1d -o aapl.html", "report --all -o everything.html"),
    "quote": ("quote AAPL BTCUSDT", "quote EURUSD=X --json"),
    "brief": ("brief AAPL", "brief AAPL --at 2024-06-28 --json"),
    "search": ("search apple", "search bitcoin --json"),
    "futures": ("futures BTCUSDT", "futures BTCUSDT 1h --what open-interest --start -7d"),
    "plan": ("plan BTCUSDT 1m --start 2020-01-01", "plan AAPL MSFT 1d --period 5y"),
    "explain": ("explain AAPL 1d", "explain BTCUSDT 1h --provider binance --json"),
    "actions": ("actions AAPL", "actions KO --start 2020-01-01 --json"),
    "coverage": ("coverage AAPL 1d", "coverage BTCUSDT 1h --json"),
    "gaps": ("gaps AAPL 1d", "gaps --all --json"),
    "sessions": ("sessions AAPL -5d today", "sessions VOD.L 2024-12-20 2025-01-05"),
    "fundamentals": ("fundamentals AAPL", "fundamentals AAPL --type statements --as-of 2023-06-30"),
    "refresh": ("refresh --dry-run", "refresh --symbols AAPL,MSFT --data-types ratios,profile"),
    "populate": (
        "populate --symbols AAPL,MSFT --timeframes 1d --start 2020-01-01",
        "populate --symbols-file universe.csv --dry-run",
    ),
    "sync": ("sync", "sync '* 1d' --every 1h --report night.json"),
    "stream": ("stream BTCUSDT 1m", "stream BTCUSDT 1m --count 10 --json"),
    "replay": ("replay BTCUSDT 1h --period 30d", "replay AAPL 1d --start 2024-01-01 --speed 0"),
    "alerts": ("alerts add AAPL above 250 --timeframe 1h", "alerts run --every 1m"),
    "alerts add": (
        "alerts add BTCUSDT below 30 --indicator 'rsi(14)' --timeframe 4h",
        "alerts add AAPL --problem stale --timeframe 1d",
    ),
    "alerts list": ("alerts list", "alerts list --json"),
    "alerts remove": ("alerts remove 3", "alerts remove 3 4 --json"),
    "alerts run": ("alerts run --once", "alerts run --every 1m --webhook https://example.com/hook"),
    "lineage": ("lineage list", "lineage check my-backtest --json"),
    "lineage list": ("lineage list", "lineage list --json"),
    "lineage show": ("lineage show my-backtest", "lineage show my-backtest --json"),
    "lineage check": ("lineage check my-backtest", "lineage check my-backtest --as-today"),
    "lineage forget": ("lineage forget my-backtest", "lineage forget my-backtest --json"),
    "lineage export": (
        "lineage export my-backtest runs/my-backtest",
        "lineage export my-backtest /tmp/run --json",
    ),
    "cache": ("cache list", "cache stats --json"),
    "cache stats": ("cache stats", "cache stats --json"),
    "cache list": ("cache list", "cache list --check"),
    "cache info": ("cache info AAPL 1d", "cache info BTCUSDT 1h --json"),
    "cache export": (
        "cache export AAPL 1d --out aapl.parquet",
        "cache export --for freqtrade user_data/data",
    ),
    "cache verify": ("cache verify", "cache verify AAPL 1d"),
    "cache repair": ("cache repair --dry-run", "cache repair AAPL 1d"),
    "cache compact": ("cache compact --dry-run", "cache compact BTCUSDT 1m"),
    "cache migrate": ("cache migrate --dry-run", "cache migrate --prune"),
    "cache log": ("cache log AAPL", "cache log AAPL 1d --limit 20"),
    "cache quarantine": ("cache quarantine list", "cache quarantine show BTCUSDT 1m"),
    "cache quarantine list": ("cache quarantine list", "cache quarantine list AAPL --json"),
    "cache quarantine show": (
        "cache quarantine show AAPL 1d",
        "cache quarantine show AAPL 1d --json",
    ),
    "cache quarantine restore": (
        "cache quarantine restore BTCUSDT 1m",
        "cache quarantine restore AAPL 1d --json",
    ),
    "cache quarantine purge": (
        "cache quarantine purge AAPL 1d --dry-run",
        "cache quarantine purge --all",
    ),
    "cache clean": ("cache clean --dry-run", "cache clean --older-than 5y"),
    "cache clear": ("cache clear AAPL 1d", "cache clear --all"),
    "validate": ("validate AAPL 1d", "validate --all --json"),
    "verify": ("verify AAPL 1d", "verify --sample 1% --requests 50"),
    "providers": ("providers", "providers yahoo"),
    "symbols refresh": ("symbols refresh AAPL MSFT", "symbols refresh --all"),
    "symbols import": ("symbols import renames.csv", "symbols import renames.csv --json"),
    "symbols show": ("symbols show META", "symbols show FB --on 2022-06-08"),
    "symbols": ("symbols import renames.csv", "symbols refresh --all"),
    "hosts": ("hosts status", "hosts attach"),
    "hosts status": ("hosts status", "hosts status --json"),
    "hosts attach": ("hosts attach", "hosts attach --cache-dir ./data-cache"),
    "hosts detach": ("hosts detach", "hosts detach --cache-dir ./data-cache"),
    "hosts verify": ("hosts verify", "hosts verify --deep"),
    "db init": ("db init", "db init --json"),
    "db upgrade": ("db upgrade", "db upgrade --json"),
    "db check": ("db check", "db check --json"),
    "db backup": ("db backup", "db backup records.bak"),
    "db": ("db check", "db backup"),
    "doctor": ("doctor", "doctor --watch --every 5"),
    "demo": ("demo", "demo --offline"),
    "bundle": ("bundle create mine AAPL MSFT 1d --start 2020-01-01", "bundle validate mine"),
    "bundle create": (
        "bundle create mine AAPL MSFT 1d --start 2020-01-01",
        "bundle create coins BTCUSDT 1m --start 2024-01-01 --end 2024-03-31 --json",
    ),
    "bundle list": ("bundle list", "bundle list --bundles ./bundles --json"),
    "bundle info": ("bundle info mine", "bundle info mine --json"),
    "bundle validate": ("bundle validate mine", "bundle validate mine --json"),
    "bundle refresh": ("bundle refresh mine", "bundle refresh mine --offline"),
    "bundle migrate": ("bundle migrate --validate", "bundle migrate quandl --revert"),
    "bundle clean": ("bundle clean mine --before 2021-01-01", "bundle clean mine --all --dry-run"),
    "sql": (
        "sql \"select * from bars('AAPL', '1d')\"",
        "sql \"select symbol, max(close) from bundle('mine') group by symbol\" --json",
    ),
    "ingest": (
        "ingest yfinance --symbols AAPL --bundle my-data",
        "ingest --source ccxt:binance --symbols BTC/USDT,ETH/USDT --frequency 1h --start 2024-01-01",
    ),
    "ingest migrate-hdf5-to-parquet": (
        "ingest migrate-hdf5-to-parquet --bundle quandl --source-dir data/bundles/quandl "
        "--output-dir data/bundles/quandl_parquet --validate",
        "ingest migrate-hdf5-to-parquet --all --validate --parallel 4",
    ),
    "universe": (
        "universe import my-index members.csv",
        "universe show my-index --as-of 2015-06-01",
    ),
    "universe create": (
        "universe create watch AAPL MSFT BRK.B",
        "universe create large --min-market-cap 10e9 --sectors Technology Energy",
    ),
    "universe import": (
        "universe import my-index members.csv",
        "universe import my-index changes.json --today today.csv",
    ),
    "universe refresh": ("universe refresh", "universe refresh watch --json"),
    "universe show": (
        "universe show my-index --as-of 2015-06-01",
        "universe show my-index --as-of 2015-06-01 --json",
    ),
    "universe diff": (
        "universe diff my-index --start 2015-01-02 --end 2015-12-31",
        "universe diff watch --start 2026-01-02 --json",
    ),
    "universe list": ("universe list", "universe list --json"),
    "serve": ("serve", "serve --port 9000"),
    "mcp": ("mcp", "mcp --at 2024-06-28"),
    "docs": ("docs bars", "docs rate limit"),
    "link": ("link", "link --remove"),
    "completion": ("completion bash", "completion fish"),
}


# Two spellings each of the same option; a command that has one of them accepts the other.
_SAME = (("--start", "--start-date"), ("--end", "--end-date"), ("--refresh", "--force-refresh"))
_OTHER_SPELLING = {one: other for pair in _SAME for one, other in (pair, pair[::-1])}
_START, _END = _SAME[0], _SAME[1]
_COUNT = ("--bars", "--limit", "--count", "--rows", "--requests")
# Maps other tools' names for an option to its names here; the first one that a command has is used.
_OTHER_NAMES = {
    **dict.fromkeys(("--since", "--from", "--from-date", "--begin"), _START),
    **dict.fromkeys(("--to", "--until", "--till"), _END),
    **dict.fromkeys(("--limit", "--count", "--last", "--n", "--tail", "--head"), _COUNT),
    **dict.fromkeys(("--source", "--vendor", "--exchange"), ("--provider",)),
    **dict.fromkeys(("--output", "--out", "--save"), ("--csv", "--out", "--report")),
    **dict.fromkeys(("--range", "--lookback"), ("--period", "--start")),
    **dict.fromkeys(("--interval", "--timeframe", "--tf"), ("--timeframes", "timeframe")),
    **dict.fromkeys(
        ("--symbol", "--ticker", "--tickers", "--symbols"), ("--symbols", "symbols", "symbol")
    ),
}
_CHART = "`onetape plot` draws a chart and writes it as PNG, SVG or HTML"
# Maps other tools' names for a command to the command here.
_OTHER_COMMANDS = {
    "help": (
        "`onetape --help` lists the commands, `onetape COMMAND --help` explains one, "
        "`onetape docs` shows the pages"
    ),
    **dict.fromkeys(("chart", "graph", "draw", "show"), "`onetape plot AAPL 1d` draws a chart"),
    **dict.fromkeys(
        ("status", "health", "check", "info"),
        (
            "`onetape doctor` checks keys, network and cache; `onetape cache stats` "
            "measures the cache"
        ),
    ),
    **dict.fromkeys(
        ("config", "configure", "init", "setup", "settings", "keys", "login"),
        (
            "no configuration is needed; `onetape doctor` shows the current one, `onetape "
            "docs keys` explains keys"
        ),
    ),
    **dict.fromkeys(
        ("download", "get", "history", "download-data", "pull", "load"),
        (
            "`onetape fetch AAPL 1d` shows or exports bars; `onetape populate` fills the "
            "cache for many symbols"
        ),
    ),
    **dict.fromkeys(("price", "last", "ticker"), "`onetape quote AAPL` returns the last price"),
    **dict.fromkeys(("list", "ls"), "`onetape cache list` lists what is cached"),
    **dict.fromkeys(
        ("live", "watch", "tail"), "`onetape stream BTCUSDT 1m` shows bars as they close"
    ),
    **dict.fromkeys(
        ("describe", "provenance"),
        "`onetape fetch AAPL 1d --json` prints the provenance with the bars",
    ),
    "update": "`onetape sync` brings every stored series up to date",
    "export": "`onetape cache export` writes cached bars to files",
    "version": "`onetape --version`",
}
_PICTURES = dict.fromkeys(("--plot", "--chart", "--graph"), _CHART)


class Parser(argparse.ArgumentParser):
    """A parser that accepts ``-30d`` as a value, and suggests the nearest match for a typo."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # A minus sign and a digit start a value, as in Python 3.14 and later: no option starts with
        # a digit.
        self._negative_number_matcher = re.compile(r"-\.?\d")
        self.nested: dict[str, Parser] = {}
        self._words: Sequence[str] = ()

    def nest(self, name: str, description: str) -> Parser:
        """Add and return a parser that takes over if its name is the first argument.

        Unlike a sub-command, the name does not rule out other values of the first argument.
        """
        self.nested[name] = Parser(prog=f"{self.prog} {name}", description=description)
        return self.nested[name]

    def format_help(self) -> str:
        """Return the help text, with examples."""
        program, _, command = self.prog.partition(" ")
        examples = EXAMPLES.get(command, ()) if program == _PROGRAM else ()
        lines = [f"  {program} {example}\n" for example in examples]
        return super().format_help() + "".join(["\nexamples:\n", *lines] if lines else [])

    def parse_known_args(  # type: ignore[override] # of one type here
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse arguments; reject unknown ones immediately, because each command has its own options."""
        if args and args[0] in self.nested:
            return self.nested[args[0]].parse_known_args(args[1:], namespace)
        self._words = args or ()
        args = None if args is None else self._own_spellings(args)
        parsed, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unknown: {' '.join(unknown)}{self.meant(unknown)}")
        return parsed, unknown

    def _own_spellings(self, words: Sequence[str]) -> list[str]:
        """Return the words with options as this command spells them (``--start`` or ``--start-date``)."""
        own, known = [], self._option_string_actions
        given = {word.partition("=")[0] for word in words}
        for word in words:
            name, equals, value = word.partition("=")
            other = _OTHER_SPELLING.get(name)
            if other in given and (name in known or other in known):
                self.error(f"{name} and {other} are the same option: give only one of them")
            is_other = name not in known and other in known
            own.append(f"{other}{equals}{value}" if is_other else word)
        return own

    def meant(self, unknown: Iterable[str]) -> str:
        """Return a question that suggests known options for unknown ones; empty if none is similar."""
        words = [word.partition("=")[0] for word in unknown if word.startswith("-")]
        suggestions = dict.fromkeys(text for word in words if (text := self._suggestion_for(word)))
        if suggestions:
            return f" ({'; '.join(suggestions)})"
        takes_several = any(action.nargs == "+" for action in self._get_positional_actions())
        return " (put all symbols and values together)" if takes_several and not words else ""

    def _suggestion_for(self, word: str) -> str:
        """Return a suggestion for an unknown option; empty if no known option is similar."""
        if word in _PICTURES:
            return _PICTURES[word]
        options = [name for name in self._option_string_actions if name.startswith("--")]
        if word in _OTHER_NAMES:
            here = {*options, *(action.dest for action in self._get_positional_actions())}
            name = next((name for name in _OTHER_NAMES[word] if name in here), None)
            if name is None:
                return f"this command has no equivalent of {word}"
            if not name.startswith("-"):
                return f"give the {name.removesuffix('s')} without an option"
            return f"use {name} instead of {word}"
        from ..model.suggestion import nearest

        near = nearest(word, options)
        return f"did you mean {near}?" if near else ""

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is None or value in action.choices:
            return
        # What describes an error is imported here and below, because the help text needs none of it.
        from ..model.suggestion import did_you_mean

        names = [str(choice) for choice in action.choices]
        what = f"there is no {str(action.metavar or 'value').lower()} {value!r}"
        message = f"{what} ({did_you_mean(str(value), names)}known: {', '.join(names)})"
        if isinstance(action, argparse._SubParsersAction):
            self._refuse_options_before(str(value))
            other = _OTHER_COMMANDS.get(str(value)) if self.prog == _PROGRAM else None
            self.error(message if other is None else f"{what}: {other}")
        raise argparse.ArgumentError(action, message)

    def _refuse_options_before(self, word: str) -> None:
        """Reject unknown options in front of a word, which is then the value of the last one."""
        before = self._words[: self._words.index(word)] if word in self._words else ()
        names = (name.partition("=")[0] for name in before if name.startswith("--"))
        unknown = [
            name
            for name in names
            if not any(o.startswith(name) for o in self._option_string_actions)
        ]
        if unknown:
            meant = self.meant(unknown) or " (options of a command follow its name)"
            self.error(f"unknown: {' '.join(unknown)}{meant}")

    def error(self, message: str) -> NoReturn:
        """Print the error, as JSON if requested, and a hint on how to get help; exit with code 2."""
        from ..errors import QueryError, shortened
        from ..model.printable import printable
        from .output import described, print_json

        text, hint = shortened(printable(message)), f"see `{self.prog} --help`"
        if "--json" in self._words:
            print_json({"error": described(QueryError(text, hint=hint))})
        self.exit(2, f"{self.prog}: {text}\n  {hint}\n")
