from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.data.core.config.rules_file import packaged_rules, rules_of
from src.data.core.model.identity.classification import Classification
from src.data.core.model.identity.instrument import Instrument
from src.data.core.symbols.classify import _TERMINAL_CODES, MAX_LENGTH, SymbolRefusal, classify
from tests.core.cache.counts import examples

TABLES = packaged_rules().classification


def tables(**symbols: object) -> Classification:
    """Return the packaged tables with a user's ``symbols``."""
    plain = dict(packaged_rules().plain)
    plain["symbol_classification"] = {**plain["symbol_classification"], "symbols": symbols}
    return rules_of(plain).classification


def patterned(crypto: list[str], stock: list[str]) -> Classification:
    plain = dict(packaged_rules().plain)
    meanings = plain["symbol_classification"]
    plain["symbol_classification"] = {
        **meanings,
        "crypto": {**meanings["crypto"], "patterns": crypto},
        "stock": {**meanings["stock"], "patterns": stock},
    }
    return rules_of(plain).classification


def meaning(symbol: object, by: Classification = TABLES) -> Instrument:
    found = classify(symbol, by)
    assert isinstance(found, Instrument), found
    return found


def refusal(symbol: object, by: Classification = TABLES) -> SymbolRefusal:
    found = classify(symbol, by)
    assert isinstance(found, SymbolRefusal), found
    return found


# symbol, canonical, base, quote, at binance, at yahoo
CRYPTO = [
    ("BTCUSDT", "BTCUSDT", "BTC", "USDT", "BTCUSDT", "BTC-USD"),
    ("ETHUSDT", "ETHUSDT", "ETH", "USDT", "ETHUSDT", "ETH-USD"),
    ("ADAUSDT", "ADAUSDT", "ADA", "USDT", "ADAUSDT", "ADA-USD"),
    (" btcusdt ", "BTCUSDT", "BTC", "USDT", "BTCUSDT", "BTC-USD"),
    ("BTC/USDT", "BTCUSDT", "BTC", "USDT", "BTCUSDT", "BTC-USD"),
    ("BTC-USDT", "BTCUSDT", "BTC", "USDT", "BTCUSDT", "BTC-USD"),
    ("BTC_USDT", "BTCUSDT", "BTC", "USDT", "BTCUSDT", "BTC-USD"),
    ("BTCUSDC", "BTCUSDC", "BTC", "USDC", "BTCUSDC", "BTC-USD"),
    ("BTCBUSD", "BTCBUSD", "BTC", "BUSD", "BTCBUSD", "BTC-USD"),
    ("BTCFDUSD", "BTCFDUSD", "BTC", "FDUSD", "BTCFDUSD", "BTC-USD"),
    ("BTC-USD", "BTCUSD", "BTC", "USD", "BTCUSD", "BTC-USD"),
    ("BTCUSD", "BTCUSD", "BTC", "USD", "BTCUSD", "BTC-USD"),
    ("BTCEUR", "BTCEUR", "BTC", "EUR", "BTCEUR", "BTC-EUR"),
    ("ETHBTC", "ETHBTC", "ETH", "BTC", "ETHBTC", "ETH-BTC"),
    ("DOTUSD", "DOTUSD", "DOT", "USD", "DOTUSD", "DOT-USD"),  # not DO in TUSD
    ("BNBUSD", "BNBUSD", "BNB", "USD", "BNBUSD", "BNB-USD"),  # not BN in BUSD
    ("BNBBUSD", "BNBBUSD", "BNB", "BUSD", "BNBBUSD", "BNB-USD"),
    ("USDCUSDT", "USDCUSDT", "USDC", "USDT", "USDCUSDT", "USDC-USD"),
    ("EURUSDT", "EURUSDT", "EUR", "USDT", "EURUSDT", "EUR-USD"),
    ("TUSDT", "TUSDT", "T", "USDT", "TUSDT", "T-USD"),
    ("1000SATSUSDT", "1000SATSUSDT", "1000SATS", "USDT", "1000SATSUSDT", "1000SATS-USD"),
    ("BONKUSDT", "BONKUSDT", "BONK", "USDT", "BONKUSDT", "BONK-USD"),
    ("BONK-USD", "BONK-USD", "BONK", "USD", "BONKUSD", "BONK-USD"),
    ("BONK/BTC", "BONK-BTC", "BONK", "BTC", "BONKBTC", "BONK-BTC"),
    ("DO/TUSD", "DO-TUSD", "DO", "TUSD", "DOTUSD", "DO-USD"),
]

# symbol, canonical, calendar, timezone, exchange, quote
STOCKS = [
    ("AAPL", "AAPL", "XNYS", "America/New_York", None, "USD"),
    ("aapl", "AAPL", "XNYS", "America/New_York", None, "USD"),
    ("GOOGL", "GOOGL", "XNYS", "America/New_York", None, "USD"),
    ("F", "F", "XNYS", "America/New_York", None, "USD"),
    ("TEST", "TEST", "XNYS", "America/New_York", None, "USD"),
    ("META", "META", "XNYS", "America/New_York", None, "USD"),
    ("SOLV", "SOLV", "XNYS", "America/New_York", None, "USD"),
    ("FBTC", "FBTC", "XNYS", "America/New_York", None, "USD"),
    ("GBTC", "GBTC", "XNYS", "America/New_York", None, "USD"),
    ("OPEUR", "OPEUR", "XNYS", "America/New_York", None, "USD"),
    ("CON", "CON", "XNYS", "America/New_York", None, "USD"),
    ("AAPL.NASDAQ", "AAPL", "XNYS", "America/New_York", "NASDAQ", "USD"),
    ("MSFT.NYSE", "MSFT", "XNYS", "America/New_York", "NYSE", "USD"),
    ("AAPL.US", "AAPL", "XNYS", "America/New_York", None, "USD"),
    ("BRK.B", "BRK-B", "XNYS", "America/New_York", None, "USD"),
    ("BRK-B", "BRK-B", "XNYS", "America/New_York", None, "USD"),
    ("BRK/B", "BRK-B", "XNYS", "America/New_York", None, "USD"),
    ("brk.b.nyse", "BRK-B", "XNYS", "America/New_York", "NYSE", "USD"),
    ("BF-B", "BF-B", "XNYS", "America/New_York", None, "USD"),
    ("JPM-PD", "JPM-PD", "XNYS", "America/New_York", None, "USD"),
    ("SOL.NYSE", "SOL.US", "XNYS", "America/New_York", "NYSE", "USD"),
    # Without the suffix, the first is not recognized, and the second is a coin priced in USDT.
    ("SUI.PA.NYSE", "SUI-PA.US", "XNYS", "America/New_York", "NYSE", "USD"),
    ("AUSDT.US", "AUSDT.US", "XNYS", "America/New_York", None, "USD"),
    ("DASH.NASDAQ", "DASH", "XNYS", "America/New_York", "NASDAQ", "USD"),
    ("VOD.L", "VOD.L", "XLON", "Europe/London", "LSE", None),
    ("BT.A.L", "BT-A.L", "XLON", "Europe/London", "LSE", None),
    ("BATS.L", "BATS.L", "XLON", "Europe/London", "LSE", None),
    ("NEOG.L", "NEOG.L", "XLON", "Europe/London", "LSE", None),
    ("VOD.LON", "VOD.L", "XLON", "Europe/London", "LSE", None),
    ("UNI.MI", "UNI.MI", "XMIL", "Europe/Rome", "BIT", "EUR"),
    ("LINK.OL", "LINK.OL", "XOSL", "Europe/Oslo", "OSL", "NOK"),
    ("HTHT.HK", "HTHT.HK", "XHKG", "Asia/Hong_Kong", "HKEX", "HKD"),
    ("0700.HK", "0700.HK", "XHKG", "Asia/Hong_Kong", "HKEX", "HKD"),
    ("ALGO.ST", "ALGO.ST", "XSTO", "Europe/Stockholm", "STO", "SEK"),
    ("ONEX.TO", "ONEX.TO", "XTSE", "America/Toronto", "TSX", "CAD"),
    ("OPEN.AS", "OPEN.AS", "XAMS", "Europe/Amsterdam", "AMS", "EUR"),
    ("ASML.AMS", "ASML.AS", "XAMS", "Europe/Amsterdam", "AMS", "EUR"),
    ("PERP.AX", "PERP.AX", "XASX", "Australia/Sydney", "ASX", "AUD"),
    ("SAP.DE", "SAP.DE", "XETR", "Europe/Berlin", "XETRA", "EUR"),
    ("7203.T", "7203.T", "XTKS", "Asia/Tokyo", "TSE", "JPY"),
    ("NOVO-B.CO", "NOVO-B.CO", "XCSE", "Europe/Copenhagen", "CPH", "DKK"),
    ("M&M.NS", "M&M.NS", "XBOM", "Asia/Kolkata", "NSE", "INR"),
    ("600519.SS", "600519.SS", "XSHG", "Asia/Shanghai", "SSE", "CNY"),
    ("000001.SZ", "000001.SZ", "XSHG", "Asia/Shanghai", "SZSE", "CNY"),
    ("NPN.JO", "NPN.JO", "XJSE", "Africa/Johannesburg", "JSE", None),
    ("BOCH.CY", "BOCH.CY", "XCYS", "Asia/Nicosia", "CYS", "EUR"),
]

# symbol, canonical, class, calendar, timezone
OTHERS = [
    ("^VIX", "^VIX", "index", "XNYS", "America/New_York"),
    ("^gspc", "^GSPC", "index", "XNYS", "America/New_York"),
    ("^FTSE", "^FTSE", "index", "XLON", "Europe/London"),
    ("^N225", "^N225", "index", "XTKS", "Asia/Tokyo"),
    ("^TA125.TA", "^TA125.TA", "index", "XTAE", "Asia/Tel_Aviv"),
    ("^SET.BK", "^SET.BK", "index", "XBKK", "Asia/Bangkok"),
    ("EURUSD=X", "EURUSD=X", "forex", "FX", "America/New_York"),
    ("EUR/USD", "EURUSD=X", "forex", "FX", "America/New_York"),
    ("eur-usd", "EURUSD=X", "forex", "FX", "America/New_York"),
    ("JPY=X", "USDJPY=X", "forex", "FX", "America/New_York"),
    ("XAU/USD", "XAUUSD=X", "forex", "FX", "America/New_York"),
    ("GC=F", "GC=F", "future", "CMES", "America/New_York"),
    ("ES=F", "ES=F", "future", "CMES@equity", "America/New_York"),
    ("m2k=f", "M2K=F", "future", "CMES@equity", "America/New_York"),
]

# symbol, candidates
AMBIGUOUS = [
    ("EURUSD", ("EUR/USD", "EURUSD=X", "EURUSDT")),
    ("GBPJPY", ("GBP/JPY", "GBPJPY=X")),
    ("SOL", ("SOLUSDT", "SOL-USD", "SOL.US")),
    ("BTC", ("BTCUSDT", "BTC-USD", "BTC.US")),
    ("LINK", ("LINKUSDT", "LINK-USD", "LINK.US")),
    ("USDT", ("USDTUSDC", "USDT-USD", "USDT.US")),
    ("BONKUSD", ("BONK-USD",)),
    ("ABCTUSD", ("ABC-TUSD", "ABCT-USD")),
]

UNKNOWN = ["COMPX1", "INVALID", "INVALID_SYMBOL", "FOO.XYZ", "7203", "AAA=Q", "ABCDEF=X", "USDUSD=X",
           "BTC/BTC", "FOO-BAR", "A" * MAX_LENGTH, "BTC.D"]  # fmt: skip

# symbol, word of the message
MALFORMED: list[tuple[object, str]] = [
    ("", "empty"),
    ("   ", "empty"),
    (None, "NoneType"),
    (5, "int"),
    (["AAPL"], "list"),
    (b"AAPL", "bytes"),
    ("A" * 65, "65 characters; at most 64"),
    ("AAPL\n", r"'\\n'"),
    ("AA\x00PL", "x00"),
    ("AA\x7fPL", "x7f"),
    ("AA PL", "' '"),
    ("straße", "'ß'"),
    ("ＡＡＰＬ", "'Ａ'"),
    ("A\u202ePL", "u202e"),
    ("\ud800", "ud800"),
    ("..", "form"),
    ("../x", "form"),
    ("A/../B", "form"),
    ("/ETC/PASSWD", "form"),
    ("A//B", "form"),
    ("A/", "form"),
    (".HIDDEN", "form"),
    ("-RF", "form"),
    ("A\\B", r"'\\\\'"),
    ("C:AAPL", "'C' in 'C:AAPL' is neither a listing exchange nor a vendor"),
    (":AAPL", "':'"),
    ("NASDAQ:", "':'"),
    ("$NASDAQ:AAPL", "':'|[$]"),
    ("NASDAQ:AA PL", "' '|':'"),
    ("NASDAQ:BTCUSDT", "not a ticker on the listing exchange NASDAQ"),
    ("LSE:VOD.L", "not a ticker on the listing exchange LSE"),
    ("BTC/USDT:USDT", "':'"),
    ("A%2EB", "'%'"),
    ("A*", "[*]"),
    ("$", "[$]"),
    ("$$AAPL", "[$]"),
    ("AA$PL", "[$]"),
    ("^", "form"),
    ("^^VIX", "form"),
    ("=X", "form"),
]


@pytest.mark.parametrize("symbol, canonical, base, quote, binance, yahoo", CRYPTO)
def test_crypto_pairs_are_classified_with_base_quote_and_spellings(
    symbol: str, canonical: str, base: str, quote: str, binance: str, yahoo: str
) -> None:
    found = meaning(symbol)
    assert (found.symbol, found.asset_class) == (canonical, "crypto")
    assert (found.base, found.quote) == (base, quote)
    assert (found.calendar, found.timezone) == ("24/7", "UTC")
    assert (found.spelling("binance"), found.spelling("yahoo")) == (binance, yahoo)


@pytest.mark.parametrize("symbol, canonical, calendar, timezone, exchange, quote", STOCKS)
def test_stocks_are_classified_with_calendar_exchange_and_currency(
    symbol: str, canonical: str, calendar: str, timezone: str, exchange: str | None, quote: str | None
) -> None:  # fmt: skip
    found = meaning(symbol)
    assert (found.symbol, found.asset_class) == (canonical, "stock")
    assert (found.calendar, found.timezone) == (calendar, timezone)
    assert (found.exchange, found.quote) == (exchange, quote)
    assert found.spelling("yahoo") == canonical.removesuffix(".US")
    assert found.spelling("local") == canonical.removesuffix(".US")


@pytest.mark.parametrize("symbol, canonical, asset_class, calendar, timezone", OTHERS)
def test_other_asset_classes_are_classified_with_their_calendar(
    symbol: str, canonical: str, asset_class: str, calendar: str, timezone: str
) -> None:
    found = meaning(symbol)
    assert (found.symbol, found.asset_class) == (canonical, asset_class)
    assert (found.calendar, found.timezone) == (calendar, timezone)
    assert found.spelling("yahoo") == canonical


@pytest.mark.parametrize(
    "written, symbol, exchange",
    [
        ("NASDAQ:AAPL", "AAPL", "NASDAQ"),
        ("nyse:brk.b", "BRK-B", "NYSE"),
        ("NASDAQ:BTC", "BTC.US", "NASDAQ"),  # the fund; alone it may be the coin
        ("LSE:VOD", "VOD.L", "LSE"),
        ("LON:VOD", "VOD.L", "LSE"),
        ("XETR:SAP", "SAP.DE", "XETRA"),
        ("HKEX:0700", "0700.HK", "HKEX"),
        ("$AAPL", "AAPL", None),
        (" $brk.b ", "BRK-B", None),
        ("$BTCUSDT", "BTCUSDT", None),
        ("$VOD.L", "VOD.L", "LSE"),
    ],
)
def test_a_listing_exchange_settles_the_market_and_a_dollar_sign_nothing(
    written: str, symbol: str, exchange: str | None
) -> None:
    found = meaning(written)
    assert (found.symbol, found.exchange) == (symbol, exchange)


@pytest.mark.parametrize(
    "written, candidates",
    [
        ("$BTC", ("BTCUSDT", "BTC-USD", "BTC.US")),
        ("$VIX", ("^VIX", "VIX.US")),
        ("TSE:7203", ("7203.T", "7203.TO")),  # Tokyo at one site, Toronto at another
        ("PSE:ABC", ("ABC.PR", "ABC.PS")),
        ("EURONEXT:MC", ("MC.PA", "MC.AS", "MC.BR", "MC.LS", "MC.IR", "MC.MI", "MC.OL")),
        # Vendors are the selector's: here one is a place that this question cannot take.
        ("BINANCE:BTCUSDT", ("BTCUSDT",)),
        ("KRAKEN:BTCUSDT", ("BTCUSDT",)),
        ("NASDAQ:BTCUSDT", ("BTCUSDT",)),
        ("C:AAPL", ("AAPL",)),
        # A coin in front is the base of a pair, and not the venue of its quote.
        ("BTC:USDT", ("BTCUSDT",)),
        ("eth:usd", ("ETHUSD",)),
        ("USDT:BTC", ("BTCUSDT", "BTC-USD", "BTC.US")),
    ],
)
def test_what_is_in_front_is_never_guessed(written: str, candidates: tuple[str, ...]) -> None:
    found = refusal(written)
    assert found.candidates == candidates
    for candidate in candidates:
        assert meaning(candidate), "it is understood as it stands"


def test_a_users_own_names_count_behind_a_dollar_sign() -> None:
    assert meaning("$SPX", tables(SPX="^GSPC")).symbol == "^GSPC"


def test_currencies_have_two_sides() -> None:
    found = meaning("EUR/GBP")
    assert (found.base, found.quote) == ("EUR", "GBP")


@pytest.mark.parametrize("symbol, candidates", AMBIGUOUS)
def test_ambiguous_text_is_never_guessed(symbol: str, candidates: tuple[str, ...]) -> None:
    found = refusal(symbol)
    assert found.reason == "ambiguous"
    assert found.candidates == candidates
    assert all(candidate in found.message for candidate in candidates)
    assert f"symbol_classification.symbols: {{{symbol}: {candidates[0]}}}" in found.hint


@pytest.mark.parametrize("symbol", sorted({c for _, candidates in AMBIGUOUS for c in candidates}))
def test_every_candidate_is_understood(symbol: str) -> None:
    meaning(symbol)


@pytest.mark.parametrize("symbol", UNKNOWN)
def test_a_symbol_that_matches_no_rule_is_unknown(symbol: str) -> None:
    found = refusal(symbol)
    assert found.reason == "unknown"
    assert symbol in found.message or "currencies" in found.message


def test_an_unknown_exchange_suffix_is_named_with_the_rule_that_adds_it() -> None:
    found = refusal("FOO.XYZ")
    assert found.message == "'FOO.XYZ' ends in .XYZ, which is not a known exchange suffix"
    assert found.hint == "a rule can add it: symbol_classification.stock.exchange_suffixes"


@pytest.mark.parametrize("symbol, word", MALFORMED)
def test_a_malformed_symbol_is_refused_with_the_reason(symbol: object, word: str) -> None:
    import re

    found = refusal(symbol)
    assert found.reason == "malformed"
    assert re.search(word, found.message), found.message


@pytest.mark.parametrize(
    "symbol, meant",
    [("VOD LN", "VOD.L"), ("aapl us equity", "AAPL"), ("BRK/B US", "BRK.B"), ("BTC USDT", "BTC/USDT")],
)  # fmt: skip
def test_a_symbol_with_a_space_names_the_one_that_is_meant(symbol: str, meant: str) -> None:
    found = refusal(symbol)
    assert (found.meant, found.hint) == ((meant,), f"did you mean {meant}?")
    assert found.candidates == (), (
        "it is refused where an ambiguous symbol is kept as it is written"
    )
    assert meaning(meant)


@pytest.mark.parametrize("code, suffix", _TERMINAL_CODES.items())
def test_each_code_of_a_terminal_is_a_known_exchange(code: str, suffix: str) -> None:
    (name,) = refusal(f"ABC {code}").meant
    assert meaning(name).symbol == meaning(f"ABC{suffix}").symbol


@pytest.mark.parametrize(
    "symbols, listed",
    [
        ("AAPL MSFT", "'AAPL', 'MSFT'"), ("aapl, 7203.T", "'AAPL', '7203.T'"), (["AAPL"], "'AAPL'"),
        (("A", "B"), "'A', 'B'"),
    ],
)  # fmt: skip
def test_several_symbols_in_place_of_one_name_the_batch(symbols: object, listed: str) -> None:
    assert refusal(symbols).hint == f"for several symbols, use get_ohlcv_batch([{listed}], ...)"


@pytest.mark.parametrize("symbol", ["S&P 500", "VOD XX YY ??", 5, None, "日 LN"])
def test_what_means_nothing_suggests_nothing(symbol: object) -> None:
    assert (refusal(symbol).meant, refusal(symbol).hint) == ((), "")


def test_the_longest_symbol() -> None:
    assert meaning("A" * (MAX_LENGTH - 2) + ".L").asset_class == "stock"
    assert refusal("A" * (MAX_LENGTH - 1) + ".L").reason == "malformed"


class TestUsersDecisions:
    def test_the_rules_may_map_a_symbol_to_another_spelling(self) -> None:
        by = tables(SOL="SOLUSDT", EURUSD="EUR/USD", BTC="btc.us")
        assert meaning("SOL", by).asset_class == "crypto"
        assert meaning("eurusd", by).symbol == "EURUSD=X"
        assert meaning("BTC", by).symbol == "BTC.US"

    def test_a_symbol_in_the_rules_wins_over_its_suffix(self) -> None:
        assert meaning("VOD.L", tables(**{"VOD.L": "VOD.US"})).calendar == "XNYS"

    def test_the_rules_may_define_a_symbol_completely(self) -> None:
        by = tables(
            ES_CONT={
                "asset_class": "future", "calendar": "CMES", "timezone": "America/New_York",
                "quote": "USD", "spellings": {"yf": "ES=F"},
            }
        )  # fmt: skip
        found = meaning("es_cont", by)
        assert (found.symbol, found.asset_class, found.quote) == ("ES_CONT", "future", "USD")
        assert (found.spelling("yahoo"), found.spelling("local")) == ("ES=F", "ES_CONT")

    @pytest.mark.parametrize(
        "calendar, timezone",
        [("XETR", "Europe/Berlin"), ("FX", "America/New_York"), ("24/7", "UTC")],
    )
    def test_a_defined_symbol_takes_the_time_zone_of_its_calendar(
        self, calendar: str, timezone: str
    ) -> None:
        by = tables(DAX_CONT={"asset_class": "future", "calendar": calendar})
        assert meaning("DAX_CONT", by).timezone == timezone

    def test_canonical_spellings_stay_apart_from_them(self) -> None:
        by = tables(AAPL="BTCUSDT", BTCUSD="BTCUSDT")
        assert meaning("AAPL", by).symbol == "BTCUSDT"
        assert meaning(meaning("AAPL.US", by).symbol, by) == meaning("AAPL.US", by)
        assert meaning(meaning("BTC-USD", by).symbol, by).quote == "USD"


class TestPatterns:
    def test_patterns_in_the_rules_classify_unknown_symbols(self) -> None:
        by = patterned([r"[A-Z]{2,10}USD"], [r"0P[0-9A-Z]{8}"])
        assert meaning("BONKUSD", by).asset_class == "crypto"
        assert meaning("BONKUSD", by).spelling("yahoo") == "BONK-USD"
        assert meaning("0P0000XTS7", by).asset_class == "stock"
        assert meaning("0P0000XTS7", by).symbol == "0P0000XTS7"

    def test_patterns_of_older_files_guess_no_more_than_we_do(self) -> None:
        by = patterned(
            ["^[A-Z]{2,10}USD$", "^[A-Z]{2,10}BTC$", "^[A-Z]{2,10}ETH$"], ["^[A-Z]{2,5}$"]
        )
        assert refusal("EURUSD", by).reason == "ambiguous"
        assert refusal("SOL", by).reason == "ambiguous"
        assert meaning("FBTC", by).asset_class == "stock"
        assert meaning("BATS.L", by).asset_class == "stock"
        assert refusal("COMPX1", by).reason == "unknown"

    def test_two_patterns_that_disagree_make_a_symbol_ambiguous(self) -> None:
        assert refusal("COMPX1", patterned(["COMP.*"], ["COMP.*"])).reason == "ambiguous"

    def test_a_pair_without_quote(self) -> None:
        found = meaning("COMPX1", patterned(["COMP.*"], []))
        assert (found.symbol, found.base, found.quote) == ("COMPX1", "COMPX1", None)


PIECES = "BTC ETH SOL USDT USDC BUSD TUSD USD EUR JPY BONK A BRK B L T XAU LINK 7203 DO BN US"
letters = st.sampled_from([*PIECES.split(), *". - / _ ^ =X =F".split()])


@settings(max_examples=examples(400), derandomize=True, deadline=None)
@given(st.lists(letters, min_size=1, max_size=5).map("".join))
def test_a_canonical_spelling_means_itself(symbol: str) -> None:
    found = classify(symbol, TABLES)
    if isinstance(found, Instrument):
        again = classify(found.symbol, TABLES)
        assert isinstance(again, Instrument)
        assert (again.symbol, again.asset_class, again.base, again.quote, again.spellings) == (
            found.symbol, found.asset_class, found.base, found.quote, found.spellings,
        )  # fmt: skip


@settings(max_examples=examples(300), derandomize=True, deadline=None)
@given(st.text(max_size=80))
def test_any_text_is_an_instrument_or_has_a_reason(symbol: str) -> None:
    found = classify(symbol, TABLES)
    if isinstance(found, Instrument):
        assert found.symbol.isascii()
        assert ".." not in found.symbol
        assert "/" not in found.symbol
        assert len(found.symbol) <= MAX_LENGTH + len(".US")
    else:
        assert found.message


def test_a_suffix_wins_over_every_coin() -> None:
    for suffix, coin in product(TABLES.exchanges, ("BTC", "UNI", "LINK", "ETH", "BTCUSDT")):
        assert meaning(coin + suffix).asset_class == "stock", coin + suffix
