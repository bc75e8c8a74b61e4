from __future__ import annotations

import io
import json
import logging
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote_plus

import pytest

from src.data import DataManager, configure_logging
from src.data.core.observability import logs
from src.data.core.observability.logs import (
    LOGGERS,
    ContextFilter,
    JsonFormatter,
    Subject,
    TextFormatter,
)
from src.data.errors import ConfigError
from tests.e2e.fresh import Fresh

log = logging.getLogger("onetape.test")


class Asked(Subject):
    """A request with a symbol."""

    symbol, timeframe = "AAPL", "1d"


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Take off again what a test attaches."""
    monkeypatch.delenv("ONETAPE_LOG", raising=False)
    monkeypatch.delenv("ONETAPE_LOG_LEVEL", raising=False)
    loggers = [logging.getLogger(name) for name in LOGGERS]
    before = [(logger.level, list(logger.handlers)) for logger in loggers]
    yield
    for logger, (level, handlers) in zip(loggers, before, strict=True):
        logger.setLevel(level)
        logger.handlers[:] = handlers


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_json_line_contains_the_request_and_the_extra_fields() -> None:
    stream = io.StringIO()
    configure_logging("json", "debug", stream)
    with logs.running(asked := Asked()), logs.asking("yahoo"):
        log.debug("%s bars", 3, extra={"wait_s": 0.5, "odd": float("nan"), "deep": [{"a": 1}]})
    (line,) = lines(stream)
    ts = str(line.pop("ts"))
    assert ts.endswith("Z") and len(ts) == len("2024-06-12T15:00:30.123Z")
    assert line == {
        "level": "DEBUG", "logger": "onetape.test", "message": "3 bars",
        "request": logs.request_id(asked.number), "symbol": "AAPL", "timeframe": "1d",
        "provider": "yahoo", "wait_s": 0.5, "odd": None, "deep": [{"a": 1}],
    }  # fmt: skip


def test_outside_of_a_request_there_is_no_context() -> None:
    stream = io.StringIO()
    configure_logging("json", "info", stream)
    with logs.running(Asked()), logs.asking("yahoo"):
        pass
    log.info("alone")
    assert set(lines(stream)[0]) == {"ts", "level", "logger", "message"}


def test_fields_of_a_record_are_not_overwritten_by_the_request() -> None:
    stream = io.StringIO()
    configure_logging("json", "info", stream)
    with logs.running(Asked()):
        log.info("x", extra={"symbol": "MSFT"})
    (line,) = lines(stream)
    assert (line["symbol"], line["timeframe"]) == ("MSFT", "1d")


def test_a_traceback_is_one_json_line() -> None:
    stream = io.StringIO()
    configure_logging("json", "info", stream)
    try:
        raise ValueError("broken\nin two")
    except ValueError:
        log.exception("it")
    (line,) = lines(stream)
    assert "ValueError: broken\nin two" in str(line["exception"])


def test_text_names_the_request_in_brackets_before_a_traceback() -> None:
    stream = io.StringIO()
    configure_logging("text", "debug", stream)
    with logs.running(asked := Asked()):
        log.debug("one")
        try:
            raise ValueError("broken")
        except ValueError:
            log.exception("two")
    log.debug("three")
    told = f"[{logs.request_id(asked.number)} AAPL 1d]"
    found = stream.getvalue().splitlines()
    assert found[0] == f"DEBUG onetape.test: one {told}"
    assert found[1] == f"ERROR onetape.test: two {told}"
    assert found[-2:] == ["ValueError: broken", "DEBUG onetape.test: three"]


@pytest.mark.parametrize("format", ["text", "json"])
def test_a_key_in_a_log_record_is_removed(format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    key = 'abc+"def/ghi&jkl'
    monkeypatch.setenv("FMP_API_KEY", key)
    stream = io.StringIO()
    configure_logging(format, "debug", stream)
    log.debug("asked with %s", key, extra={"url": f"?k={quote_plus(key)}", "deep": {key: [key]}})
    try:
        raise ValueError(key)
    except ValueError:
        log.exception("it")
    said = stream.getvalue()
    assert "asked with ***" in said
    assert all(part not in said for part in ("abc+", "abc%2B", "ghi&jkl", "def/ghi", "def%2Fghi"))


@pytest.mark.parametrize(
    "spelled",
    [r"abc+\"def\/ghi&jkl", "abc+&quot;def/ghi&amp;jkl", "YWJjKyJkZWYvZ2hpJmprbA==", 'abc+"def/gh'],
    ids=["JSON", "HTML", "base64", "cut off"],
)
def test_an_escaped_key_in_a_log_record_is_removed(
    spelled: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FMP_API_KEY", 'abc+"def/ghi&jkl')
    stream = io.StringIO()
    configure_logging("text", "debug", stream)
    log.debug("the vendor wrote %s", spelled)
    assert "the vendor wrote ***" in stream.getvalue()


def test_configuring_logs_again_replaces_the_handler() -> None:
    first, second = io.StringIO(), io.StringIO()
    configure_logging("text", "info", first)
    configure_logging("text", "warning", second)
    log.info("too low")
    log.warning("heard")
    assert (first.getvalue(), second.getvalue()) == ("", "WARNING onetape.test: heard\n")


def test_arguments_rule_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONETAPE_LOG", "JSON")
    monkeypatch.setenv("ONETAPE_LOG_LEVEL", "info")
    stream = io.StringIO()
    configure_logging(stream=stream)
    log.info("json by the environment")
    configure_logging("text", "error", stream)
    log.warning("too low")
    log.error("text")
    first, second = stream.getvalue().splitlines()
    assert json.loads(first)["message"] == "json by the environment"
    assert second == "ERROR onetape.test: text"


@pytest.mark.parametrize(
    "arguments, environ, said",
    [
        (("xml", None), {}, "'xml'"),
        (("json", "loud"), {}, "'loud'"),
        ((None, None), {"ONETAPE_LOG": "yes"}, "'yes'"),
        ((None, None), {"ONETAPE_LOG_LEVEL": "9"}, "'9'"),
    ],
)
def test_formats_and_levels_that_there_are_not(
    arguments: tuple[str | None, str | None], environ: dict[str, str], said: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=said) as caught:
        configure_logging(*arguments)
    assert "warning" in str(caught.value) or "json" in str(caught.value)


def test_threads_carry_the_context_they_are_given() -> None:
    def told(number: int) -> tuple[int, str, str]:
        found = logs.context()
        return number, found["symbol"], found["provider"]

    with ThreadPoolExecutor(3) as pool:
        with logs.running(Asked()), logs.asking("yahoo"):
            carried = logs.carried(told)
        assert list(pool.map(carried, range(9))) == [(n, "AAPL", "yahoo") for n in range(9)]
        assert pool.submit(told, 0).result() == (0, "", "")


def test_a_handler_of_a_program_takes_the_filter_and_the_format() -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.addFilter(ContextFilter())
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        with logs.running(Asked()):
            log.warning("heard at the root")
    finally:
        root.removeHandler(handler)
    assert lines(stream)[0]["symbol"] == "AAPL"
    assert isinstance(TextFormatter(), logging.Formatter)


@pytest.mark.parametrize("formatter", [JsonFormatter, TextFormatter])
def test_a_formatter_that_a_program_makes_masks_keys(
    formatter: type[logging.Formatter], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FMP_API_KEY", "s3cr3t-of-a-vendor")
    record = logging.makeLogRecord({"msg": "asked ?apikey=s3cr3t-of-a-vendor", "url": "x"})
    assert "asked ?apikey=***" in formatter().format(record)


def test_the_library_attaches_no_handler_that_writes(fresh: Fresh) -> None:
    code = (
        "import logging, src.data.data_manager\n"
        "from src.data.logs import LOGGERS\n"
        "logging.getLogger('onetape.routing').warning('nobody asked to hear this')\n"
        "names = [n for n in logging.root.manager.loggerDict if n.startswith(LOGGERS)]\n"
        "held = [h for n in names for h in logging.getLogger(n).handlers]\n"
        "assert held and all(type(h) is logging.NullHandler for h in held), held\n"
        "assert not logging.root.handlers"
    )
    assert fresh.run(code) == ""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
def test_a_forked_child_names_its_requests_anew() -> None:
    before = logs.request_id(1)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, logs.request_id(1).encode())
        os._exit(0)
    os.waitpid(child, 0)
    told = os.read(read, 99).decode()
    os.close(read)
    os.close(write)
    assert told != before
    assert told.endswith("-1")


@pytest.mark.parametrize("how", ["text", "json"])
def test_control_characters_are_written_out(how: str) -> None:
    stream = io.StringIO()
    configure_logging(how, "debug", stream)
    with logs.running(asked := Asked()), logs.asking("yahoo"):
        asked.symbol = "AA\x9bPL"  # type: ignore[misc]
        log.warning("no \x1b]0;x\x07\u202e%s", "\x1b[2J", extra={"deep": ["\x9b1m"]})
    written = stream.getvalue()
    assert [c for c in written if c != "\n" and not c.isprintable()] == []
    assert "x1b]0;x" in written


def test_a_line_of_a_message_does_not_pass_for_a_record() -> None:
    stream = io.StringIO()
    configure_logging("text", "debug", stream)
    log.warning("no\nERROR onetape: %s", "made up\nERROR onetape: too")
    first, *others = stream.getvalue().splitlines()
    assert first == "WARNING onetape.test: no"
    assert [line for line in others if not line.startswith("    ")] == []


def test_the_environment_counts_in_programs_from_the_first_manager_on(
    fresh: Fresh, tmp_path: Path
) -> None:
    program = (
        "from src.data import DataManager, configure_logging\n"
        "import logging, sys\n"
        f"one, two = DataManager({str(tmp_path / 'a')!r}), DataManager({str(tmp_path / 'b')!r})\n"
        "logging.getLogger('onetape.test').info('said')\n"
        "configure_logging('text', 'error', sys.stdout)\n"
        "logging.getLogger('onetape.test').info('too low')\n"
    )
    (line,) = fresh.run(program, ONETAPE_LOG="json", ONETAPE_LOG_LEVEL="info").splitlines()
    assert json.loads(line)["message"] == "said"


def test_a_manager_refuses_a_log_that_there_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONETAPE_LOG", "yes")
    with pytest.raises(ConfigError, match="'yes'"):
        DataManager(tmp_path)
