"""API keys: sent to their vendor and leaked nowhere else, whatever fails on the way.

Every vendor is queried with canary keys. Afterwards all output of the library is searched for them:
exceptions with their whole chains, every logger at DEBUG, warnings, both streams, the name and content
of every file, and the provenance of the answer.
"""

from __future__ import annotations

import base64
import gzip
import html
import io
import json
import logging
import pickle
import re
import socket
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest

from src.data.cli import main
from src.data.core.clock import ManualClock
from src.data.core.model.identity.kind import Kind
from src.data.core.model.market.bars import Bar
from src.data.core.model.request.capabilities import BarPage, Capabilities, FetchQuery, Limits
from src.data.core.model.request.http import HttpRequest, HttpResponse
from src.data.core.net.http.http import HttpTransport
from src.data.core.net.http.status import error_of
from src.data.core.observability.events import Event
from src.data.core.observability.logs import ContextFilter, JsonFormatter
from src.data.core.registry import SERVED, VENDORS, key_names
from src.data.core.vendors.base import BaseDataDownloader
from src.data.data_manager import DataManager
from src.data.errors import AllProvidersFailedError, DataError
from tests.core.net.scripted import reply, sender_over, serving
from tests.vendor_server import Fault, VendorServer

from .oracle import ms
from .scripted_vendor import route_to

# Each of its pieces can be told from anything else, and it needs every kind of escaping.
KEY = 'zqCANARYa+zqCANARYb/zqCANARYc=zqCANARYd&zqCANARYe"<zqCANARYf>'
NEXT_KEY = KEY.replace("zqCANARY", "zqCANARYnext")
PIECE = "zqcanary"
FORMS = {
    PIECE, *(text.lower() for text in (
        quote(KEY), quote(KEY, safe=""), quote_plus(KEY), json.dumps(KEY)[1:-1], html.escape(KEY),
        base64.b64encode(KEY.encode()).decode(), base64.urlsafe_b64encode(KEY.encode()).decode(),
    )),
    base64.b64encode(KEY.encode()).decode().lower()[:24],
}  # fmt: skip
DAY = ("BTCUSDT", "1h", "2024-06-01", "2024-06-01")
TIMEOUT = (0.15, 0.15)  # seconds to connect and to read
STAMPS = range(ms("2024-06-01"), ms("2024-06-02"), 3_600_000)


def leaks(where: str, text: str | bytes) -> list[str]:
    """Return the place and form of each canary in ``text``."""
    reported = (text.decode("latin-1") if isinstance(text, bytes) else text).lower()
    return [
        f"{where}: {reported[max(0, reported.find(f) - 80) :][:160]!r}"
        for f in FORMS
        if f in reported
    ]


class Keyed(BaseDataDownloader):
    """Sends its key in every way there is, and quotes its vendor's words as vendors' files do."""

    name = "keyed"
    secrets = ("KEYED_API_KEY",)
    requires_api_key = True
    limits = Limits(per_minute=60_000, burst=1000)
    capabilities = Capabilities(
        frozenset({"crypto"}), {"1h": "1h"}, page_bars=1000, adjustment="raw", dense=True,
        kinds={"crypto": Kind(session="24h", anchor="clock", venue="keyed", volume="base")},
    )  # fmt: skip

    def bars_request(self, query: FetchQuery, cursor: str | None) -> HttpRequest:
        key = self.secret("KEYED_API_KEY")
        return HttpRequest(
            f"{self.base_url}/bars", params={"from": query.span.start},
            secret_params={"apikey": key},
            secret_headers={"X-Api-Key": key, "Authorization": f"Bearer {key}"},
        )  # fmt: skip

    def parse_bars(self, response: HttpResponse, query: FetchQuery) -> BarPage:
        return BarPage([Bar(row[0], *map(float, row[1:])) for row in response.json()["rows"]])

    def classify(self, response: HttpResponse) -> DataError | None:
        error = error_of(response)
        try:
            said = response.json()["message"]
        except (DataError, KeyError, TypeError):
            said = response.text
        return None if error is None else type(error)(f"keyed says: {said[:160]}")


Handle = Callable[[BaseHTTPRequestHandler], None]


def well(handler: BaseHTTPRequestHandler) -> None:
    rows = [[stamp, "1.0", "2.0", "0.5", "1.5", "9.0"] for stamp in STAMPS]
    body = json.dumps({"rows": rows, "message": f"hello {KEY}"}).encode()
    reply(handler, body, X_Account=quote(KEY))


def says(status: int, text: str, **headers: str) -> Handle:
    return lambda handler: reply(handler, text.encode(), status, **headers)


def repeats_the_request(handler: BaseHTTPRequestHandler, status: int = 400) -> None:
    reported = f"cannot serve {handler.path} for {dict(handler.headers)}"
    reply(handler, json.dumps({"message": reported}).encode(), status)


def refuses_the_key(handler: BaseHTTPRequestHandler) -> None:
    repeats_the_request(handler, 401)


def promises_more(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "9999")
    handler.end_headers()
    handler.wfile.write(f'{{"message": "{KEY}'.encode())
    handler.close_connection = True


def hangs_up(handler: BaseHTTPRequestHandler) -> None:
    handler.close_connection = True


def sends_elsewhere(handler: BaseHTTPRequestHandler) -> None:
    reply(handler, b"", 302, Location=f"https://elsewhere.example/?apikey={quote(KEY, safe='')}")


def sends_in_circles(handler: BaseHTTPRequestHandler) -> None:
    reply(handler, b"", 307, Location=handler.path)


AS_JSON = json.dumps({"message": f"your key {KEY} is wrong"})
AS_PHP = AS_JSON.replace("/", "\\/").replace("<", "\\u003C").replace("&", "\\u0026")
AS_HTML = f"<html><body>Access denied for <b>{html.escape(KEY)}</b> and {KEY}</body></html>"
ANSWERS: dict[str, Handle] = {
    **{f"{status}": says(status, AS_JSON) for status in (400, 401, 402, 403, 404, 451, 500, 503)},
    "429": says(429, AS_JSON, Retry_After="86400"),
    "429 with a key for a time": says(429, AS_JSON, Retry_After=quote(KEY)),
    "418": says(418, AS_JSON),
    "escaped as by PHP": says(401, AS_PHP),
    "escaped letter by letter": says(401, '{"message": "' + "".join(
        f"\\u{ord(c):04x}" for c in KEY) + '"}'),
    "an error page": says(503, AS_HTML),
    "an error page of 200": says(200, AS_HTML),
    "a page of numbers": says(401, "".join(f"&#{ord(c)};" for c in KEY)),
    "JSON of another shape": says(200, json.dumps({"rows": [[KEY] * 6]})),
    "a key for a number": says(200, json.dumps({"rows": [[STAMPS[0], KEY, 1, 1, 1, 1]]})),
    "the request repeated": repeats_the_request,
    "JSON cut within the key": says(200, f'{{"rows": "{KEY[:40]}'),
    "an error cut within the key": says(401, f"bad key {KEY[:19]}"),
    "less than promised": promises_more,
    "hung up": hangs_up,
    "no gzip": says(200, AS_JSON, Content_Encoding="gzip"),
    "a redirect elsewhere": sends_elsewhere,
    "a redirect in circles": sends_in_circles,
}  # fmt: skip


@dataclass
class Heard:
    """All output of the library during a block."""

    lines: list[str] = field(default_factory=list)
    warned: list[Any] = field(default_factory=list)

    def leaks(self) -> list[str]:
        texts = [*self.lines, *(f"{w.message!r} {w.message} {w.filename}" for w in self.warned)]
        return [leak for text in texts for leak in leaks("log or warning", text)]


class _Ear(logging.Handler):
    def __init__(self, heard: Heard) -> None:
        super().__init__(logging.DEBUG)
        self.setFormatter(logging.Formatter("%(name)s %(pathname)s %(message)s"))
        # Told no key, it cuts out none: what a record carries must hold none by itself.
        self.json = JsonFormatter(dict)
        self.addFilter(ContextFilter())
        self.heard = heard

    def emit(self, record: logging.LogRecord) -> None:
        self.heard.lines += [self.format(record), repr(record.args), self.json.format(record)]


@contextmanager
def listening() -> Iterator[Heard]:
    """Keep every record of every logger, and every warning."""
    heard, root = Heard(), logging.getLogger()
    ear, before = _Ear(heard), root.level
    root.addHandler(ear)
    root.setLevel(logging.DEBUG)
    try:
        with warnings.catch_warnings(record=True) as heard.warned:
            warnings.simplefilter("always")
            yield heard
    finally:
        root.removeHandler(ear)
        root.setLevel(before)


def told_by(error: BaseException) -> str:
    """Return the texts of an error, printed and pickled, along its whole chain."""
    texts, pending, seen = [], [error], set()
    while pending:
        exc = pending.pop()
        seen.add(id(exc))
        full = traceback.TracebackException.from_exception(exc, capture_locals=True)
        texts += [str(exc), repr(exc), repr(exc.args), repr(vars(exc)), "".join(full.format())]
        # What error trackers collect; the frames of this file hold the canary themselves.
        texts = [_without_test_locals(text) for text in texts]
        texts += [str(value) for frame in full.stack if "/src/data/" in frame.filename
                  for value in (frame.locals or {}).values()]  # fmt: skip
        held = [exc.__cause__, exc.__context__, *getattr(exc, "exceptions", ())]
        held += [v for v in vars(exc).values() if isinstance(v, BaseException)]
        pending += [e for e in held if e is not None and id(e) not in seen]
    texts.append(pickle.dumps(error).decode("latin-1"))
    out = io.StringIO()
    traceback.print_exception(error, file=out)
    return "\n".join([*texts, out.getvalue()])


def _without_test_locals(text: str) -> str:
    """Drop the locals of frames that are not the library's from a formatted traceback."""
    kept, ours = [], False
    for line in text.splitlines():
        if line.startswith('  File "'):
            ours = "/src/data/" in line
        if ours or not re.match(r"    \w+ = ", line):
            kept.append(line)
    return "\n".join(kept)


def written_leaks(*folders: Path) -> list[str]:
    """Search names and contents of every file, gzip undone."""
    found = []
    for path in sorted(p for folder in folders for p in folder.rglob("*")):
        found += leaks("file name", str(path.relative_to(path.anchor)))
        if path.is_file():
            raw = path.read_bytes()
            found += leaks(path.name, raw)
            found += leaks(path.name, gzip.decompress(raw)) if path.suffix == ".gz" else []
    return found


@pytest.fixture
def ask(
    manager: DataManager, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Keyed]:
    """Return a function that makes the manager query only the keyed vendor at an address."""

    def at(base: str, key: str = KEY, keys: Mapping[str, str] | None = None) -> Keyed:
        own_sender, keys = manager.provider_selector.own_sender, keys or {"KEYED_API_KEY": key}
        assert own_sender is not None
        sender = own_sender("keyed", Keyed(credentials=keys), HttpTransport(timeout=TIMEOUT))
        vendor = Keyed(credentials=keys, base_url=base, sender=sender)
        route_to(monkeypatch, manager, keyed=vendor)
        return vendor

    return at


@pytest.fixture
def assert_silent(
    tmp_path: Path, state_dir: Path, capfd: pytest.CaptureFixture[str]
) -> Callable[..., None]:
    """Return the search of everything."""

    def check(heard: Heard, *texts: str) -> None:
        found = [leak for text in (*texts, *capfd.readouterr()) for leak in leaks("text", text)]
        assert found + heard.leaks() + written_leaks(tmp_path, state_dir) == []
        assert any(state_dir.iterdir()), "nothing was stored: the state folder is not tested"

    return check


def failing(manager: DataManager, vendor: Keyed) -> str:
    """Make failing requests, through the manager and directly; return all output about them."""
    with pytest.raises(AllProvidersFailedError) as caught:
        manager.get_ohlcv(*DAY)
    assert [a.provider for a in caught.value.attempts] == ["keyed"]
    # The manager's error has no cause; that of a direct call has what the vendor's file raised.
    sender = sender_over(HttpTransport(timeout=TIMEOUT))
    keys = {"KEYED_API_KEY": vendor.secret("KEYED_API_KEY")}
    alone = Keyed(credentials=keys, base_url=vendor.base_url, sender=sender)
    with pytest.raises(DataError) as direct:
        alone.get_ohlcv(*DAY)
    assert type(direct.value).__name__ == caught.value.attempts[0].outcome
    return told_by(caught.value) + repr(caught.value.attempts) + told_by(direct.value)


@pytest.mark.parametrize("name", ANSWERS)
def test_no_response_of_a_vendor_leaks_the_key(
    name: str, manager: DataManager, ask: Callable[..., Keyed],
    assert_silent: Callable[..., None],
) -> None:  # fmt: skip
    with serving(ANSWERS[name]) as server, listening() as heard:
        vendor = ask(server.base)
        reported = failing(manager, vendor)
    path, headers = server.requests[0]
    assert quote_plus(KEY) in path
    assert (headers["x-api-key"], headers["authorization"]) == (KEY, f"Bearer {KEY}")
    assert any("urllib3" in line for line in heard.lines), (
        "the library logged nothing: the test would check nothing"
    )
    assert any(line.startswith("onetape.audit ") for line in heard.lines), (
        "its use was not recorded"
    )
    badge = vendor.session
    assert_silent(heard, reported, *map(repr, (vendor, badge, vars(badge), vars(badge.sender))))


def test_a_redirect_does_not_send_the_key_to_another_host_or_port(
    manager: DataManager, ask: Callable[..., Keyed], assert_silent: Callable[..., None]
) -> None:
    with serving(well) as stranger, listening() as heard:
        for host in (stranger.base, stranger.base.replace("127.0.0.1", "localhost")):
            there = f"{host}/bars?apikey={quote(KEY, safe='')}"
            with serving(says(302, "", Location=there)) as server:
                reported = failing(manager, ask(server.base))
            assert "not followed" in reported
    assert stranger.requests == []
    assert_silent(heard, reported)


def _nobody_listens() -> str:
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{door.getsockname()[1]}"


def test_a_refused_connection_does_not_leak_the_key(
    manager: DataManager, ask: Callable[..., Keyed], assert_silent: Callable[..., None]
) -> None:
    with listening() as heard:
        assert_silent(heard, failing(manager, ask(_nobody_listens())))


def test_an_unknown_host_does_not_leak_the_key(
    manager: DataManager, ask: Callable[..., Keyed], assert_silent: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def unknown(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(-2, "Name or service not known")

    with listening() as heard, monkeypatch.context() as network:
        network.setattr(socket, "getaddrinfo", unknown)
        reported = failing(manager, ask("https://keyed.invalid"))
    assert "keyed.invalid" in reported
    assert_silent(heard, reported)


def test_a_failing_proxy_leaks_neither_the_key_nor_its_password(
    manager: DataManager, ask: Callable[..., Keyed], assert_silent: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    with serving(hangs_up) as proxy, listening() as heard:
        there = proxy.base.replace("//", f"//user:{quote(KEY, safe='')}@")
        monkeypatch.setenv("HTTPS_PROXY", there)
        reported = failing(manager, ask("https://keyed.invalid"))
        assert proxy.connections, "the proxy was not used: the test would check nothing"
    assert_silent(heard, reported)


def test_a_vendor_that_hangs_does_not_leak_the_key(
    manager: DataManager, ask: Callable[..., Keyed], assert_silent: Callable[..., None]
) -> None:
    over = threading.Event()
    with serving(lambda _: bool(over.wait(10))) as server, listening() as heard:  # type: ignore[arg-type]
        reported = failing(manager, ask(server.base))
        over.set()
    assert "ProviderTimeoutError" in reported
    assert_silent(heard, reported)


@pytest.mark.parametrize("tail", ["\n", "\r\nX-More: y", "\u2019"])
def test_a_key_that_no_header_can_carry_is_refused_and_not_leaked(
    manager: DataManager, ask: Callable[..., Keyed], assert_silent: Callable[..., None], tail: str
) -> None:
    with serving(well) as server, listening() as heard:
        reported = failing(manager, ask(server.base, KEY + tail))
    assert server.requests == []
    assert "AuthenticationError" in reported
    assert_silent(heard, reported)


def test_the_audit_log_names_the_account_and_not_the_key(
    manager: DataManager, ask: Callable[..., Keyed], assert_silent: Callable[..., None],
    tmp_path: Path,
) -> None:  # fmt: skip
    # As documented: into a file of its own.
    audit, file = logging.getLogger("onetape.audit"), tmp_path / "audit.log"
    handler = logging.FileHandler(file)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    with serving(refuses_the_key) as server, listening() as heard:
        audit.addHandler(handler)
        try:
            reported = failing(manager, ask(server.base, KEY))
            reported += failing(manager, ask(server.base, NEXT_KEY))
        finally:
            audit.removeHandler(handler)
            handler.close()
    lines = re.findall(
        r"keyed account (\w{8}|-): GET 127.0.0.1/bars, attempt 1: AuthenticationError",
        file.read_text(),
    )
    assert [len(name) for name in lines] == [8] * 4
    assert len(set(lines)) == 4, "names of a direct call hold in its process alone"
    assert lines[0] != lines[2]
    assert_silent(heard, reported)


def test_a_replaced_key_is_not_leaked(
    manager: DataManager, ask: Callable[..., Keyed], assert_silent: Callable[..., None]
) -> None:
    environ = {"KEYED_API_KEY": KEY}
    with serving(refuses_the_key) as server, listening() as heard:
        vendor = ask(server.base, keys=environ)
        reported = failing(manager, vendor)
        environ["KEYED_API_KEY"] = NEXT_KEY
        reported += failing(manager, vendor)
        session = vendor.session
        environ.clear()
        with pytest.raises(AllProvidersFailedError, match="set KEYED_API_KEY") as caught:
            manager.get_ohlcv(*DAY)
        reported += told_by(caught.value)
    assert len(server.requests) == 4
    assert_silent(heard, reported, repr(session))


def test_no_event_and_no_counter_contains_the_key(
    manager: DataManager, ask: Callable[..., Keyed], assert_silent: Callable[..., None]
) -> None:
    events: list[Event] = []
    manager.on_event(events.append)
    with listening() as heard:
        for name in ("401", "503", "429", "a key for a number"):
            with serving(ANSWERS[name]) as server:
                ask(server.base)
                with pytest.raises(AllProvidersFailedError):
                    manager.get_ohlcv(*DAY)
    reported = {event.name for event in events}
    assert reported >= {"AttemptFailed", "CallFailed", "CircuitOpened"}
    assert any('"outcome": "AuthenticationError"' in line for line in heard.lines), "no JSON"
    texts = [f"{event!r}{json.dumps(event.to_json())}" for event in events]
    assert_silent(heard, *texts, json.dumps(manager.metrics()))


def test_an_answer_does_not_contain_the_key(
    manager: DataManager, ask: Callable[..., Keyed], assert_silent: Callable[..., None]
) -> None:
    with serving(well) as server, listening() as heard:
        ask(server.base)
        frames = [manager.get_ohlcv(*DAY, strict=True) for _ in range(2)]
        manager.get_cache_stats()
        picture = manager.plot(*DAY)
    assert len(server.requests) == 1
    assert len(frames[0]) == 24
    texts = [f"{f.attrs!r}{json.dumps(f.attrs, default=str)}{f.to_csv()}" for f in frames]
    pickled = [pickle.dumps(f.attrs).decode("latin-1") for f in frames]
    drawn = [picture.svg(), picture.html(), picture.png().decode("latin-1"), repr(picture)]
    assert_silent(heard, *texts, *pickled, *drawn, repr(vars(manager)))


# --- vendors that need no key, where keys stand in the environment

FAULTS = {
    "none": None, "401": Fault.status(401), "403": Fault.status(403), "429": Fault.throttle(3600),
    "418": Fault.ban(), "451": Fault.status(451), "503": Fault.status(503), "html": Fault.lie("html"),
    "lie": Fault.lie("error"), "truncate": Fault.truncate(), "cut": Fault.cut(),
    "reset": Fault.reset(), "redirect": Fault.redirect(),
}  # fmt: skip
VARIABLES = sorted({name for vendor in VENDORS for name in key_names(vendor)} | {
    "BINANCE_KEY", "BINANCE_SECRET", "POLYGON_KEY", "TWELVEDATA_API_KEY", "TRADIER_API",
    "YAHOO_API_KEY",
})  # fmt: skip


@pytest.fixture
def rules(rules: Path, vendors: VendorServer) -> Path:
    """Return rules that send no vendor with a key to its real host."""
    named = rules.read_text()
    others = [name for name in SERVED if f"  {name}: " not in named]
    text = "".join(f"  {name}: {{base_url: '{vendors.refused_url(name)}'}}\n" for name in others)
    rules.write_text(named + text)
    return rules


@pytest.fixture
def keys_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a canary under the name of every key that any vendor takes."""
    for name in VARIABLES:
        monkeypatch.setenv(name, KEY)


@pytest.mark.usefixtures("keys_everywhere")
@pytest.mark.parametrize("fault", FAULTS)
def test_the_command_line_leaks_no_key_of_the_environment(
    fault: str, vendors: VendorServer, rules: Path, tmp_path: Path, clock: ManualClock,
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], state_dir: Path,
) -> None:  # fmt: skip
    monkeypatch.setattr("src.data.core.wiring.SystemClock", lambda: clock)
    for vendor in ("binance", "yahoo"):
        if chosen := FAULTS[fault]:
            vendors.fault(vendor, chosen)
    common = ["--config", str(rules), "--cache-dir", str(tmp_path / "cache")]
    span = ["--start", "2024-06-03", "--end", "2024-06-04"]
    # Each fault at both vendors and in both forms, each vendor in both forms.
    symbols = ("BTCUSDT", "AAPL")[:: 1 if list(FAULTS).index(fault) % 2 else -1]
    forms = ((["--log", "json"], ["--json"]), ([], []))
    with listening() as heard:
        codes = [main(["-v", *log, "fetch", symbol, "1d", *span, *how, *common])
                 for symbol, (log, how) in zip(symbols, forms, strict=True)]  # fmt: skip
    assert codes == [0 if fault == "none" else 1] * 2
    shown = "".join(capfd.readouterr())
    assert "keyed" not in shown
    assert "DEBUG" in shown, "nothing was logged: the test would check nothing"
    assert '"level": "DEBUG"' in shown
    sent = [repr(entry) for entry in vendors.log()]
    found = [leak for text in (shown, *sent) for leak in leaks("shown or sent", text)]
    assert sent
    assert found + heard.leaks() + written_leaks(tmp_path, state_dir) == []


@pytest.mark.usefixtures("keys_everywhere")
@pytest.mark.parametrize(
    "words",
    [["doctor"], ["doctor", "--watch", "--json"], ["providers"], ["cache", "stats"]],
    ids=" ".join,
)
@pytest.mark.parametrize("form", [[], ["--json"]], ids=["text", "json"])
def test_commands_that_describe_an_installation_show_no_key(
    words: list[str], form: list[str], vendors: VendorServer, rules: Path, tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    with listening() as heard:
        main(["-v", *words, *form, "--config", str(rules), "--cache-dir", str(tmp_path / "cache")])
    shown = "".join(capfd.readouterr())
    assert shown.strip()
    assert leaks("shown", shown) + heard.leaks() + written_leaks(tmp_path) == []


# --- the search itself


@pytest.mark.parametrize("form", [
    KEY, KEY[:20], quote(KEY), base64.b64encode(KEY.encode()).decode(), f"x {KEY.split('+')[1]} y",
])  # fmt: skip
def test_the_search_for_leaks_finds_a_key_in_logs_warnings_files_and_errors(
    form: str, tmp_path: Path
) -> None:
    logger = logging.getLogger("urllib3.connectionpool")
    with listening() as heard:
        logger.debug("%s", f"/bars?apikey={form}")
        warnings.warn(form, stacklevel=1)
    assert len(heard.leaks()) >= 3
    (tmp_path / "state").write_bytes(b"\x00" + form.encode())
    assert written_leaks(tmp_path)
    error = DataError("quiet")
    error.__context__ = KeyError(form)
    assert leaks("error", told_by(error))
    error = DataError("quiet")
    error.request = form  # type: ignore[attr-defined]
    assert leaks("error", told_by(error))
