"""Tables of fundamentals and streams of other packages: what is wrong with them hurts nothing else."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from src.data.core.config.offered import FUNDAMENTALS, STREAMS, offers
from src.data.core.config.settings import load_settings
from src.data.core.vendors.factory import downloader_for
from src.data.core.vendors.fundamentals_table import table_of
from src.data.core.vendors.stream_protocol import stream_of
from src.data.data_manager import DataManager
from src.data.errors import ForeignError, NoProviderError, UnknownProviderError
from src.data.feed.services import feeds_of
from src.data.jobs.doctor.health import checkup
from src.data.jobs.vendors.vendors import describe_vendors, selector_of, vendor_profile
from tests.core.net.scripted import reply, serving
from tests.core.vendors.packages import PackageFolder, package_folder
from tests.core.vendors.test_adding_a_provider import LEDGER, RELAY

KEY = "k3y-c4nary-4711"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PackageFolder]:
    """Yield a folder for packages on ``sys.path``, still empty."""
    folder = tmp_path / "site"
    folder.mkdir()
    with package_folder(folder, monkeypatch) as made:
        yield made


def put_ledger(site: PackageFolder, code: str = LEDGER) -> None:
    site.put(
        "ledger_one",
        code,
        {"ledger": "ledger_one:Ledger"},
        more={FUNDAMENTALS: {"ledger": "ledger_one:TABLE"}},
    )


def put_relay(site: PackageFolder, code: str = RELAY) -> None:
    site.put(
        "relay_one",
        code,
        {"relay": "relay_one:Relay"},
        more={STREAMS: {"relay": "relay_one:RelayStream"}},
    )


@pytest.fixture
def make(tmp_path: Path) -> Callable[[str], DataManager]:
    """Return a maker of a manager by the text of its rules."""

    def made(rules: str, fundamentals: str = "{}") -> DataManager:
        (tmp_path / "rules.yaml").write_text(rules)
        (tmp_path / "fundamentals.json").write_text(fundamentals)
        return DataManager(tmp_path / "cache", tmp_path / "rules.yaml")

    return made


CLASS = LEDGER[: LEDGER.index("_RATIOS")]
TABLES = {
    "it raises": (CLASS + "raise RuntimeError('at https://x.example/?key=CANARY')", "raised RuntimeError"),
    "no such name": (CLASS, "AttributeError"),
    "no table": (CLASS + "TABLE = Ledger", "it is not a VendorTable"),
    "another vendor": (LEDGER.replace('vendor="ledger"', 'vendor="yahoo"'), "'yahoo', not 'ledger'"),
    "no answers": (LEDGER.replace("(_RATIOS,)", "()"), "do not map to TableAnswer objects"),
    "no answer": (LEDGER.replace("(_RATIOS,)", "('pe',)"), "do not map to TableAnswer objects"),
    "no such field": (LEDGER.replace('"pe_ratio"', '"pe"'), "data type or field: pe"),
    "no such type": (LEDGER.replace('"ratios": (', '"ratio": ('), "data type or field: ratio"),
    "no such class": (LEDGER.replace('{"stock"}', '{"bond"}'), "asset class, data type or field: bond"),
    "no class": (LEDGER.replace('frozenset({"stock"})', "frozenset()"), "does not serve any asset class"),
}  # fmt: skip
STREAM = RELAY[: RELAY.index("class RelayStream")]
STREAMS_AT_FAULT = {
    "it raises": (STREAM + "raise RuntimeError('at https://x.example/?key=CANARY')", "raised RuntimeError"),
    "no such name": (STREAM, "AttributeError"),
    "no class": (STREAM + "RelayStream = 5", "it is not a class"),
    "no stream": (STREAM + "class RelayStream: pass", "it lacks address, spelling, kind, opened"),
    "a method lacks": (RELAY.replace("def kind", "def sort"), "it lacks kind"),
    "another vendor": (RELAY.replace('name = "relay"', 'name = "other"').replace(
        'name = "other"', 'name = "relay"', 1), "'other', not 'relay'"),
    "no title": (RELAY.replace('display_name = "Relay"', "display_name = None"), "no `display_name`"),
    "no traits": (RELAY.replace("traits = StreamTraits(", "traits = dict("), "not StreamTraits"),
    "no batch": (RELAY.replace("answers=False", "batch=0"), "above 0"),
}  # fmt: skip


@pytest.mark.parametrize("how", list(TABLES)[2:])
def test_a_table_that_breaks_a_rule_is_rejected_with_the_reason(
    how: str, site: PackageFolder
) -> None:
    code, said = TABLES[how]
    put_ledger(site, code)
    with pytest.raises(UnknownProviderError, match="fundamentals 'ledger', ledger_") as raised:
        table_of("ledger")
    assert said in str(raised.value)


@pytest.mark.parametrize("how", TABLES)
def test_a_faulty_table_of_a_plugin_is_reported_when_requested(
    how: str, site: PackageFolder, caplog: pytest.LogCaptureFixture, tmp_path: Path,
    make: Callable[..., DataManager],
) -> None:  # fmt: skip
    code, said = TABLES[how]
    put_ledger(site, code)
    if how == "it raises":  # in a module of its own, so that the class can be had
        site.add("ledger_one", CLASS)
        site.add("ledger_table", code)
        info = next(site.folder.glob("ledger_one-*")) / "entry_points.txt"
        info.write_text(info.read_text().replace("ledger_one:TABLE", "ledger_table:TABLE"))
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            with pytest.raises(
                UnknownProviderError, match="fundamentals 'ledger', ledger_"
            ) as raised:
                table_of("ledger")
            assert said in str(raised.value)
            assert raised.value.provider == "ledger"
    assert len([r for r in caplog.records if "cannot be used" in r.message]) == 1, "said once"
    assert "CANARY" not in caplog.text
    assert table_of("yahoo") is not None
    with pytest.warns(UserWarning, match="none could be queried") as warned:
        assert asks(make("{}", FIRST)) == {}
    assert said in str(warned[0].message)
    settings = load_settings(tmp_path / "cache")
    profile = vendor_profile(settings, "ledger")
    assert profile["fundamentals"] == [] and said in profile["no_fundamentals"]
    reported = {
        vendor["name"]: vendor["faults"] for vendor in describe_vendors(selector_of(settings))
    }
    assert said in reported.pop("ledger")[0]
    assert not any(reported.values())


def put_stream(site: PackageFolder, code: str) -> None:
    """Put a vendor of bars, and a stream of its own module."""
    site.put(
        "relay_vendor",
        STREAM,
        {"relay": "relay_vendor:Relay"},
        more={STREAMS: {"relay": "relay_one:RelayStream"}},
    )
    site.add("relay_one", code)


@pytest.mark.parametrize("how", list(STREAMS_AT_FAULT)[2:])
def test_a_stream_that_breaks_a_rule_is_rejected_with_the_reason(
    how: str, site: PackageFolder
) -> None:
    code, said = STREAMS_AT_FAULT[how]
    put_stream(site, code)
    with pytest.raises(UnknownProviderError, match="the stream 'relay', relay_one:") as raised:
        stream_of("relay")
    assert said in str(raised.value)


@pytest.mark.parametrize("how", STREAMS_AT_FAULT)
def test_a_faulty_stream_of_a_plugin_is_reported_when_requested(
    how: str,
    site: PackageFolder,
    caplog: pytest.LogCaptureFixture,
    make: Callable[..., DataManager],
) -> None:
    code, said = STREAMS_AT_FAULT[how]
    put_stream(site, code)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            with pytest.raises(
                UnknownProviderError, match="the stream 'relay', relay_one:"
            ) as raised:
                stream_of("relay")
            assert said in str(raised.value)
    assert len([r for r in caplog.records if "cannot be used" in r.message]) == 1, "said once"
    assert "CANARY" not in caplog.text
    manager = make("crypto: {primary: relay, backup: [binance]}")
    assert feeds_of(manager).streamer("BTCUSDT", "1m") == "binance"
    with pytest.raises(UnknownProviderError, match="the stream 'relay'"):
        manager.live_feed("BTCUSDT", "1m", provider="relay")
    with pytest.warns(UserWarning, match="the stream 'relay'"):
        assert manager.get_live_feed("BTCUSDT", "1m", provider="relay") is None


def test_a_stream_that_raises_does_not_affect_other_streams(
    site: PackageFolder, make: Callable[..., DataManager]
) -> None:
    put_relay(site, RELAY.replace("symbol = spelled(", f"symbol = 1 / 0 or '{KEY}' or spelled("))
    manager = make("crypto: {primary: relay, backup: [binance]}")
    assert feeds_of(manager).streamer("BTCUSDT", "1m") == "binance"
    with pytest.raises(ForeignError, match="ZeroDivisionError"):
        manager.live_feed("BTCUSDT", "1m", provider="relay")


@pytest.mark.parametrize(
    ("symbol", "venue", "said"),
    [
        ("BTCUSDT", "binance", ""),
        ("BTCUSDT", "", ""),
        ("NOSUCHUSDT", "binance", ""),
        ("BTCUSDT", "kraken", "its bars are of kraken, the series has bars of binance"),
        ("NOSUCHUSDT", "", "nothing proves that its NOSUCHUSDT is the NOSUCHUSDT of binance"),
    ],
)
def test_a_stream_without_history_continues_only_from_bars_of_its_kind_and_instrument(
    symbol: str, venue: str, said: str, site: PackageFolder, make: Callable[..., DataManager],
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """Else another coin of the same letters would follow the history."""
    caplog.set_level(logging.INFO, "onetape.feed")
    put_relay(site, RELAY.replace('"acme", instrument', f'"{venue}", instrument'))
    manager = make("crypto: {primary: relay, backup: [binance]}")
    assert feeds_of(manager).streamer(symbol, "1m") == ("binance" if said else "relay")
    lines = (
        [f"binance streams {symbol} 1m: relay does not stream such bars: {said}"] if said else []
    )
    assert [record.message for record in caplog.records] == lines
    manager = make("crypto: {primary: relay, backup: []}")
    with pytest.raises(NoProviderError, match="serves no bars"):
        manager.live_feed(symbol, "1m")
    assert f"{symbol} 1m is polled as bars close" in caplog.text


def test_names_that_are_taken_or_have_no_vendor_are_refused(
    site: PackageFolder, caplog: pytest.LogCaptureFixture
) -> None:
    more = {
        FUNDAMENTALS: {"yahoo": "x:TABLE", "nowhere": "x:TABLE", "ledger": "x:TABLE"},
        STREAMS: {"bnc": "x:S"},
    }
    put_ledger(site)
    site.put("zzz", "", {}, more=more)
    with caplog.at_level(logging.WARNING):
        assert {name: offer.value for name, offer in offers(FUNDAMENTALS).items()} == {
            "ledger": "ledger_one:TABLE"
        }
        assert not offers(STREAMS)
    lines = sorted(record.message.partition("the ")[2] for record in caplog.records)
    assert lines == [
        "stream 'bnc' of zzz is ignored: the name is one of onetape's own",
        "table of fundamentals 'ledger' of zzz is ignored: ledger-one already uses this name",
        "table of fundamentals 'nowhere' of zzz is ignored: no package offers a vendor with this name under "
        "onetape.providers",
        "table of fundamentals 'yahoo' of zzz is ignored: the name is one of onetape's own",
    ]
    assert not {"ledger_one", "zzz"} & set(sys.modules), "naming them imports nothing"


# --- asked -----------------------------------------------------------------------------------


def ledger_server(handler: BaseHTTPRequestHandler) -> None:
    if f"token={KEY}" not in handler.path:
        return reply(handler, KEY.encode(), 401)
    return reply(handler, b'{"ticker": "AAPL", "pe": 31.5}')


def asks(manager: DataManager, **options: Any) -> dict[str, Any]:
    return manager.get_fundamentals("AAPL", data_type="ratios", **options)


FIRST = '{"provider_sequences": {"ratios": ["ledger"]}}'


def test_a_table_of_a_plugin_is_queried_with_its_rules_and_key(
    site: PackageFolder, make: Callable[..., DataManager], monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    put_ledger(site, LEDGER.replace('("LEDGER_API_KEY",)', '(("LEDGER_API_KEY", "LEDGER_KEY"),)'))
    with serving(ledger_server) as server:
        rules = f"providers: {{ledger: {{base_url: '{server.base}'}}}}"
        manager = make(rules, FIRST)
        with pytest.warns(UserWarning, match=r"skipped without a key: ledger \(LEDGER_API_KEY\)"):
            assert asks(manager) == {}
        assert not server.requests
        monkeypatch.setenv("LEDGER_KEY", "wrong-" + KEY[:4])
        with pytest.warns(UserWarning, match="AuthenticationError"):
            assert asks(manager) == {}
        with pytest.warns(UserWarning, match="CircuitOpenError"):
            assert asks(manager, force_refresh=True) == {}
        assert len(server.requests) == 1, "a refused key locks its account"
        monkeypatch.setenv("LEDGER_KEY", KEY)
        assert asks(manager)["pe_ratio"] == 31.5
        assert asks(manager)["pe_ratio"] == 31.5
        assert len(server.requests) == 2, "then it is cached"
        assert manager.metrics()["vendors"]["ledger"]["requests"] == 2
        monkeypatch.setenv("OWN", KEY)
        monkeypatch.delenv("LEDGER_KEY")
        own = make(rules.replace("}}", ", api_key_env: OWN}}"), FIRST)
        assert asks(own, force_refresh=True)["pe_ratio"] == 31.5
    assert KEY not in caplog.text


def test_a_table_sends_keys_that_its_vendor_declares(
    site: PackageFolder, make: Callable[..., DataManager]
) -> None:
    put_ledger(site, LEDGER.replace('Key("LEDGER_API_KEY"', 'Key("LEDGER_TOKEN"'))
    with pytest.warns(UserWarning, match="its `secrets` lack LEDGER_TOKEN"):
        assert asks(make("{}", FIRST)) == {}


@pytest.mark.parametrize("vendor", ["ledger", "tiingo"])
def test_a_plugin_vendor_that_the_rules_do_not_name_is_not_queried(
    vendor: str,
    site: PackageFolder,
    make: Callable[..., DataManager],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whether its downloader was made for bars before, or not."""
    put_ledger(site)
    monkeypatch.setenv("LEDGER_API_KEY", KEY)
    monkeypatch.setenv("TIINGO_API_KEY", KEY)
    manager = make("{}", '{"provider_sequences": {"ratios": ["fmp"]}}')
    assert downloader_for(manager.provider_selector, vendor) is not None
    with pytest.warns(UserWarning, match="none could be queried"):
        assert asks(manager) == {}


def test_doctor_names_faulty_plugins(site: PackageFolder, tmp_path: Path) -> None:
    put_ledger(site, LEDGER.replace('"pe_ratio"', '"pe"'))
    put_relay(site)
    found = checkup(tmp_path / "cache", network=False)
    reported = [(c.section, c.topic, c.level) for c in found if c.topic in ("ledger", "relay")]
    # A key that is missing is named once, among the keys.
    assert sorted(reported, key=str) == [
        ("keys", "ledger", "note"), ("vendors", "ledger", "fault"), ("vendors", "relay", "ok"),
    ]  # fmt: skip
