from __future__ import annotations

import argparse
import errno
import gc
import io
import logging
import os
import subprocess
import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import pytest

from src.data.cli import COMMANDS, main
from src.data.cli.execution import guarded
from src.data.core.observability.logs import LOGGERS
from tests.cli.conftest import Run
from tests.programs import PYTHONPATH

HEAVY = (
    "pandas",
    "numpy",
    "requests",
    "yaml",
    "tenacity",
    "rich",
    "exchange_calendars",
    "filelock",
)


def typed(*words: str, before: Sequence[str] = (), **options: object) -> subprocess.Popen[str]:
    """Start the command in a process of its own."""
    # Buffered, as it is by default: what is left in the buffer is what fails at the exit.
    environment = {**os.environ, "PYTHONPATH": PYTHONPATH, "PYTHONUNBUFFERED": ""}
    return subprocess.Popen(
        [*before, sys.executable, *words], env=environment, text=True, stderr=subprocess.PIPE,
        stdout=subprocess.PIPE, **options,  # type: ignore[call-overload]
    )  # fmt: skip


def test_help_loads_no_heavy_package() -> None:
    code = "import sys\nfrom src.data.cli import main\n"
    for words in (["--version"], ["--help"], ["fetch", "--help"]):
        code += (
            f"try: main({words!r})\nexcept SystemExit as stop: assert not stop.code\n"
            f"loaded = [m for m in {HEAVY!r} if m in sys.modules]\n"
            f"assert not loaded, ({words!r}, loaded)\n"
        )
    process = typed("-c", code)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert out.count("usage: onetape") == 2 and out.startswith("onetape ")


@pytest.mark.parametrize("words", [["--help"], ["--version"], []])
def test_the_list_of_commands_loads_nothing_but_the_parser(words: list[str]) -> None:
    code = (
        "import atexit, sys\n"
        "from onetape.__main__ import main\n"
        "atexit.register(lambda: print(*(m for m in sys.modules if m.startswith('onetape.data.'))))\n"
        f"sys.argv[1:] = {words!r}\nsys.exit(main())\n"
    )
    process = typed("-c", code)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    loaded = {
        f"onetape.data.{name}" for name in ("_version", "core", "core.parts", "cli", "cli.parser")
    }
    assert {*out.splitlines()[-1].split()} == loaded


def test_commands_that_show_no_frame_load_no_pandas(cache: Path, run: Run) -> None:
    assert run("fetch", "BTCUSDT", "1d", "--provider", "mock", "--bars", "5").code == 0
    code = "import sys\nfrom src.data.cli import main\n"
    for words in (
        ["cache", "list"], ["cache", "stats"],
        ["plan", "BTCUSDT", "1d", "--provider", "mock", "--bars", "5"],
    ):  # fmt: skip
        code += (
            f"assert main({[*words, '--cache-dir', str(cache)]!r}) == 0\n"
            f"assert not {{'pandas', 'pyarrow'}} & {{*sys.modules}}, {words!r}\n"
        )
    process = typed("-c", code)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str, bare: Run) -> None:
    ran = bare(command, "--help")
    assert ran.code == 0
    assert f"usage: onetape {command}" in ran.out


def test_every_command_that_may_ask_a_vendor_takes_its_time(bare: Run) -> None:
    # Doctor queries all vendors at once, 3 s each.
    # `db symbols refresh` asks for fundamentals, which have a time of their own.
    # `mcp` and `serve` query no vendor by themselves: their calls end after 30 s without a response.
    # `receipt verify` asks for one line after the other, each of which ends after 30 s without a response.
    others = {"doctor", "db", "mcp", "serve", "receipt"}
    asking = {command: [command] for command in COMMANDS} | {
        "alerts": ["alerts", "run"],
        "bundle": ["bundle", "create"],
    }
    timed = {
        command
        for command, words in asking.items()
        if "--timeout SECONDS" in bare(*words, "--help").out
    }
    modules = {name: import_module(f"src.data.cli.{name}") for name in COMMANDS}
    asks = {n for n, module in modules.items() if getattr(module, "SENDS_REQUESTS", True)}
    assert timed == asks - others


def test_without_a_command_there_is_help(bare: Run) -> None:
    ran = bare()
    assert ran.code == 0
    assert all(command in ran.out for command in COMMANDS)


@pytest.mark.parametrize(
    "words",
    [
        ["fetsch"], ["fetch"], ["fetch", "AAPL"], ["fetch", "AAPL", "1d", "--bars", "0"],
        ["fetch", "AAPL", "1d", "--adjustment", "some"], ["cache"], ["cache", "wipe"],
        ["populate", "--symbols", ","], ["--wide"],
    ],
)  # fmt: skip
def test_unknown_commands_and_options_exit_with_2(words: list[str], bare: Run) -> None:
    ran = bare(*words)
    assert ran.code == 2
    assert ran.out == ""
    assert ran.err.startswith("onetape")
    last = ran.err.splitlines()[-1]
    assert last.startswith("  use `onetape fetch AAPL 1d") or last.endswith(" --help`")


def test_a_typed_error_is_a_line_and_a_hint(run: Run) -> None:
    ran = run("fetch", "AAPL", "1x")
    assert ran.code == 2
    assert ran.out == ""
    first, hint = ran.err.splitlines()
    assert first == "onetape: unknown timeframe '1x'"
    assert "1d" in hint


def test_a_command_seldom_collects_cycles(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """They took a fifth of the time of `cache stats` of ten thousand series."""
    before, during = gc.get_threshold(), []
    monkeypatch.setattr(
        "src.data.cli.cached.check_folder", lambda _: during.append(gc.get_threshold())
    )
    gc.set_threshold(700, 10, 10)
    try:
        run("cache", "list")
        assert during[0] > (700, 10, 10) == gc.get_threshold()
    finally:
        gc.set_threshold(*before)


def test_an_error_is_json_for_machines_too(run: Run) -> None:
    ran = run("fetch", "AAPL", "1d", "--provider", "yahooo", "--json")
    assert ran.code == 2
    assert ran.json["error"]["type"] == "UnknownProviderError"
    assert ran.json["error"]["reason"] == "configuration"
    assert "yahoo" in ran.json["error"]["hint"]
    assert ran.err.startswith("onetape: unknown provider 'yahooo'")


def test_brackets_and_colons_in_messages_are_shown_literally(run: Run) -> None:
    ran = run("fetch", "[red]A[/]", "1d", "--provider", ":warning:")
    assert ran.code == 2
    assert "[red]A[/]" in ran.err


def test_an_interrupt_is_no_traceback(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("src.data.data_manager.build", interrupted)
    ran = run("fetch", "AAPL", "1d")
    assert ran.code == 1
    assert ran.err == "onetape: interrupted; committed bars are kept\n"


def test_log_records_are_shown_only_with_verbose(
    bare: Run, rules: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    places = ["--config", str(rules), "--cache-dir", str(cache)]
    logger = logging.getLogger("onetape.data")
    before = (logger.level, list(logger.handlers))
    assert "no downloader" not in bare("providers", *places).err
    assert "no downloader for 'local'" in bare("-v", "providers", *places).err
    assert "no downloader for 'local'" in bare("providers", "-v", *places).err
    assert (logger.level, list(logger.handlers)) == before


def test_a_reader_that_goes_away_is_no_failure() -> None:
    process = typed("-m", "src.data", "docs")
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    said = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=300) == 0
    assert said == ""


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no such device here")
def test_a_full_disk_behind_the_screen_is_one_line() -> None:
    with open("/dev/full", "w") as full:
        process = subprocess.run(
            [sys.executable, "-m", "src.data", "docs", "gaps", "--json"],
            stdout=full, stderr=subprocess.PIPE, text=True, timeout=300, check=False,
            env={**os.environ, "PYTHONPATH": PYTHONPATH, "PYTHONUNBUFFERED": ""},
        )  # fmt: skip
    assert process.returncode == 1
    assert process.stderr == "onetape: the output cannot be written: No space left on device\n"


@pytest.mark.parametrize(
    "words, closed, code",
    [
        (["cache", "list"], ">&-", 0), (["cache", "list", "--json"], ">&-", 0),
        (["cache", "list"], "2>&-", 0), (["fetch", "AAPL", "1x"], "2>&-", 2),
        (["fetch", "AAPL", "1x"], "2>/dev/full", 2), (["cache", "info", "A", "1d"], ">&- 2>&-", 1),
    ],
)  # fmt: skip
def test_outputs_that_were_closed_change_no_exit_code(
    words: list[str], closed: str, code: int, cache: Path
) -> None:
    line = f'exec "$0" -m src.data "$@" {closed}'
    process = typed(*words, "--cache-dir", str(cache), before=["sh", "-c", line])
    out, err = process.communicate(timeout=300)
    assert process.returncode == code, err
    assert "Traceback" not in out + err


def test_an_interrupt_while_a_command_is_loaded_is_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("src.data.cli.import_module", interrupted)
    assert main(["fetch", "AAPL", "1d"]) == 1
    assert capsys.readouterr().err == "onetape: interrupted; committed bars are kept\n"


@pytest.mark.parametrize(
    "said", [("cache", "list"), ("fetch", "AAPL", "1d", "--offline", "--csv", "bars.csv")]
)
def test_a_deleted_working_directory_is_reported(
    bare: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: tuple[str, ...]
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    ran = bare(*said)
    assert ran.code == 2, "a wrong configuration, as a folder of that name would be"
    assert ran.err.startswith("onetape: the working directory cannot be used: ")
    assert "change to a folder that exists" in ran.err


def test_a_terminal_without_unicode_gets_ascii(
    rules: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    places = ["--config", str(rules), "--cache-dir", str(cache)]
    assert (
        main(["fetch", "BTCUSDT", "1h", "--start", "2024-06-01", "--end", "2024-06-02", *places])
        == 0
    )
    sys.stdout.flush()
    said = raw.getvalue().decode("ascii")
    assert "48 bars - binance" in said
    assert "#" in said and "?" not in said


def test_a_verbose_command_leaves_the_loggers_as_they_were(cache: Path, run: Run) -> None:
    loggers = [logging.getLogger(name) for name in LOGGERS]
    before = [(logger.level, [*logger.handlers]) for logger in loggers]
    assert run("-v", "cache", "stats").code == 0
    assert [(logger.level, [*logger.handlers]) for logger in loggers] == before


def test_warnings_of_libraries_about_each_other_are_not_shown(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def warn(_: argparse.Namespace) -> int:
        warnings.warn("a library is old", DeprecationWarning, stacklevel=1)
        warnings.warn("bars are missing", UserWarning, stacklevel=1)
        return 0

    assert guarded(argparse.Namespace(run=warn)) == 0
    assert capsys.readouterr().err.splitlines() == ["bars are missing"]


def test_output_that_cannot_be_written_at_the_end_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Full(io.StringIO):
        def flush(self) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(sys, "stdout", Full())
    assert guarded(argparse.Namespace(run=lambda _: 0)) == 1
    assert "the output cannot be written: No space left" in capsys.readouterr().err
