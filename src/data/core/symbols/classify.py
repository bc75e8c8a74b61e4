"""Determines which instrument a symbol means, or why it means none, without ever guessing.

A listing exchange as a prefix (``NASDAQ:AAPL``, ``LSE:VOD``) determines class and market; a dollar
sign (``$AAPL``) determines nothing. For the rest of the symbol, the first match in this order
decides:

1. the user's own ``symbols``;
2. a caret: an index (``^VIX``); ``=X``: currencies (``EURUSD=X``); ``=F``: a future (``GC=F``);
3. a known exchange suffix: a stock (``VOD.L``, ``UNI.MI``, ``AAPL.NASDAQ``);
4. a separator: a pair (``BTC/USDT``, ``BTC-USD``, ``EUR/USD``) or a share class (``BRK.B``);
5. a pair without a separator: any letters before a stablecoin, or a known asset before another
quote;
6. the name of a coin, or two currencies in a row: ambiguous;
7. one to five letters: a stock listed in the USA;
8. the user's patterns.

Classifying a canonical spelling returns the same spelling, so that symbols read back from the cache
can be requested.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from ..model.identity.classification import Classification, Exchange
from ..model.identity.instrument import Instrument
from ..registry import VENDORS, canonical_vendor

MAX_LENGTH = 64
NEW_YORK = "America/New_York"

_ALLOWED = re.compile(r"[A-Za-z0-9.\-_/^=&]")
_SHAPE = re.compile(r"\^?[A-Z0-9]+(?:[.\-_/&][A-Z0-9]+)*(?:=[A-Z])?")
_PAIR = re.compile(r"([A-Z0-9]{1,15})[/_-]([A-Z0-9]{3,10})")
_JOINED = re.compile(r"[A-Z0-9]{5,25}")
_SHARE_CLASS = re.compile(r"([A-Z]{1,5})[./-]([A-Z]|P[A-Z]|W[IST]|UN|RT)")
_PLAIN = re.compile(r"[A-Z]{1,5}")
_FUTURE = re.compile(r"[A-Z0-9]{1,10}=F")
# The number of a security in lists of exchanges: a country, nine characters, a check digit.
ISIN = re.compile(r"[A-Z]{2}[A-Z0-9]{9}[0-9]")
# Equity index futures at CME and CBOT, which have their own calendar because their sessions have a
# pause.
_EQUITY_FUTURES = frozenset("ES MES NQ MNQ YM MYM RTY M2K EMD".split())
_TICKER = re.compile(r"[A-Z0-9]{1,12}(?:[.\-/&][A-Z0-9]{1,4})?")
_VENUE = re.compile(r"[A-Z][A-Z0-9_]*(?::.+)?")
# Maps the names that charting sites use for listing exchanges to this library's suffixes.
_LISTED_AT = {
    "XNAS": (".NASDAQ",),
    "XNYS": (".NYSE",),
    "NYSEARCA": (".ARCA",),
    "NYSEAMERICAN": (".AMEX",),
    "BATS": (".US",),
    "XETR": (".DE",),
    "ETR": (".DE",),
    "XLON": (".L",),
    "EURONEXT": (".PA", ".AS", ".BR", ".LS", ".IR", ".MI", ".OL"),
    "OMX": (".ST", ".CO", ".HE", ".IC"),
    "TSE": (".T", ".TO"),  # Tokyo at one site, Toronto at another
}
# A ticker as Bloomberg's terminal writes it, such as ``VOD LN`` or ``AAPL US Equity``; and the suffix
# here for each of its exchange codes.
_AT_TERMINAL = re.compile(r"([A-Z0-9]{1,12}(?:/[A-Z])?) ([A-Z]{2})(?: EQUITY)?")
_TERMINAL_CODES = {
    "AU": ".AX", "AV": ".VI", "BB": ".BR", "CN": ".TO", "CT": ".TO", "DC": ".CO", "FH": ".HE",
    "FP": ".PA", "GR": ".DE", "GY": ".DE", "HK": ".HK", "ID": ".IR", "IM": ".MI", "JP": ".T",
    "JT": ".T", "LN": ".L", "NA": ".AS", "NO": ".OL", "PL": ".LS", "SE": ".SW", "SM": ".MC",
    "SP": ".SI", "SS": ".ST", "SW": ".SW", "UN": ".NYSE", "UQ": ".NASDAQ", "UW": ".NASDAQ",
    "US": "",
}  # fmt: skip
_QUOTES = frozenset("USDT USDC USD EUR GBP JPY".split())
# US indices that people write with a dollar sign as well as with a caret.
_DOLLAR_INDICES = frozenset("^VIX ^SPX ^GSPC ^DJI ^NDX ^IXIC ^RUT".split())


@dataclass(frozen=True)
class SymbolRefusal:
    """The reason why a string does not identify an instrument.

    Attributes:
        reason: ``malformed`` (cannot be a symbol, whatever the rules), ``ambiguous`` (several
            meanings) or ``unknown`` (no rule matches).
        message: Description of the problem, with the symbol and any limit it exceeds.
        candidates: Spellings that would be recognized.
        hint: Advice on how to solve the problem.
        meant: Symbols probably meant by a string that is not itself a symbol.
    """

    reason: Literal["malformed", "ambiguous", "unknown"]
    message: str
    candidates: tuple[str, ...] = ()
    hint: str = ""
    meant: tuple[str, ...] = ()


Verdict = Instrument | SymbolRefusal | None


def classify(symbol: Any, tables: Classification) -> Instrument | SymbolRefusal:
    """Return the instrument that ``symbol`` means according to ``tables``, or why it means none.

    Case and surrounding spaces are ignored.
    """
    if isinstance(symbol, str) and len(symbol) <= MAX_LENGTH:
        head, colon, body = symbol.strip(" ").rpartition(":")
        if colon and _VENUE.fullmatch(head.upper()) and not malformed(body):
            return _parse_prefixed(head.upper(), body.upper(), tables)
        if symbol.strip(" ")[:1] == "$":
            return _of_dollar_sign(symbol.strip(" ")[1:], tables)
    refusal = malformed(symbol)
    if refusal is not None:
        return refusal
    text = symbol.strip(" ").upper()
    if text in tables.symbols:
        return _user_decision(text, tables)
    return _classify_text(text, tables)


def malformed(symbol: Any) -> SymbolRefusal | None:
    """Return the reason why ``symbol`` cannot be a symbol under any rules, or None if it can."""
    if not isinstance(symbol, str):
        what = f"a symbol must be a string, not {type(symbol).__name__}"
        is_list = isinstance(symbol, list | tuple | set)
        return SymbolRefusal("malformed", what, hint=_as_batch(symbol) if is_list else "")
    text = symbol.strip(" ").upper()
    if not text:
        return SymbolRefusal("malformed", "the symbol is empty")
    if len(symbol) > MAX_LENGTH:
        what = f"the symbol has {len(symbol)} characters; at most {MAX_LENGTH} are allowed"
        return SymbolRefusal("malformed", what)
    invalid = _ALLOWED.sub("", symbol.strip(" "))
    if invalid:
        what = f"the symbol {symbol!r} contains {invalid[0]!r}, which is not allowed in symbols"
        if ":" in invalid:
            hint = "write a pair as BTC/USDT (perpetual: provider='ccxt:binanceusdm'), a venue as NASDAQ:AAPL"
            return SymbolRefusal("malformed", what, hint=hint)
        meant, hint = _meant_with_spaces(text)
        return SymbolRefusal("malformed", what, hint=hint, meant=meant)
    if not _SHAPE.fullmatch(text):
        return SymbolRefusal("malformed", f"the symbol {symbol!r} is malformed")
    return None


def _as_batch(symbols: Iterable[object]) -> str:
    names = ", ".join(map(repr, symbols))
    names = names if len(names) < MAX_LENGTH else f"{names[:MAX_LENGTH]}..."
    return f"for several symbols, use get_ohlcv_batch([{names}], ...)"


def _meant_with_spaces(text: str) -> tuple[tuple[str, ...], str]:
    """Return the symbols probably meant by a text with spaces or commas, and a hint; both may be empty."""
    listed = _AT_TERMINAL.fullmatch(text)
    if listed is not None and listed[2] in _TERMINAL_CODES:
        name = listed[1].replace("/", ".") + _TERMINAL_CODES[listed[2]]
        return (name,), f"did you mean {name}?"
    names = re.split(r"[ ,;]+", text)
    if len(names) == 2 and names[1] in _QUOTES and _PLAIN.fullmatch(names[0]):
        return (pair := "/".join(names),), f"did you mean {pair}?"
    if len(names) > 1 and all(_SHAPE.fullmatch(name) and not name.isdigit() for name in names):
        return tuple(names), _as_batch(names)
    return (), ""


def _parse_prefixed(head: str, body: str, tables: Classification) -> Instrument | SymbolRefusal:
    """Parse a symbol with an exchange prefix, as in ``NASDAQ:AAPL``.

    ``head`` is the prefix, and ``body`` is the rest.

    If the prefix does not name an exchange, the refusal suggests ``body``, or the pair of both if the
    prefix is a coin.
    """
    written = f"{head}:{body}"
    venues = _venues(head, tables)
    stocks = [_stock(body, v, tables) for v in venues] if _is_ticker(body, venues, tables) else []
    if len(stocks) == 1:
        return stocks[0]
    if stocks:
        names = tuple(dict.fromkeys(stock.symbol for stock in stocks))
        what = f"the symbol {written!r} is ambiguous: it may mean {', '.join(names)}"
        return SymbolRefusal("ambiguous", what, names, "write the one that you mean")
    vendor = canonical_vendor(head)
    is_pair = not (venues or vendor) and head in tables.assets - tables.stablecoins
    meaning = classify(f"{head}/{body}" if is_pair else body, tables)
    names = (meaning.symbol,) if isinstance(meaning, Instrument) else meaning.candidates
    if venues:
        what = f"{body!r} is not a ticker on the listing exchange {head}"
    elif vendor is not None:
        what = f"{written!r} names the vendor {vendor}, which is not possible here"
    else:
        what = f"{head!r} in {written!r} is neither a listing exchange nor a vendor"
    hint = f"write {names[0]}" if names else ""
    if not (venues or vendor or is_pair) and getattr(meaning, "asset_class", "") == "crypto":
        hint += f"; if ccxt serves that venue, use CCXT:{head}:{body}"
    return SymbolRefusal("malformed", what, names, hint)


def _is_ticker(body: str, venues: list[Exchange], tables: Classification) -> bool:
    """Return whether ``venues`` could list ``body``, which must not be a pair or listed elsewhere."""
    if "." in body and f".{body.rpartition('.')[2]}" in tables.exchanges:
        return False
    if any(venue.bare for venue in venues):
        return bool(_PLAIN.fullmatch(body) or _SHARE_CLASS.fullmatch(body))
    return _TICKER.fullmatch(body) is not None


def _venues(name: str, tables: Classification) -> list[Exchange]:
    """Return the exchanges with a name, which may be a code, a suffix or a charting site's name."""
    suffixes = _LISTED_AT.get(name)
    if suffixes is None:
        named = [e for e in tables.exchanges.values() if name == e.code and name != "US"]
        suffix = tables.exchanges.get(f".{name}") if len(name) > 2 else None
        venues = named or ([suffix] if suffix else [])
    else:
        venues = [tables.exchanges[ending] for ending in suffixes if ending in tables.exchanges]
    # An exchange may have several suffixes; the first is the usual one.
    return list({(v.code, v.calendar): v for v in reversed(venues)}.values())[::-1]


def _of_dollar_sign(body: str, tables: Classification) -> Instrument | SymbolRefusal:
    """Parse the rest of a symbol that began with a dollar sign, as people write them in chats.

    In chats, an index may also begin with a dollar sign, so a name that could be either is
    ambiguous.
    """
    refusal = malformed(body)
    if refusal is not None:
        return SymbolRefusal("malformed", f"the symbol {'$' + body!r} is malformed")
    text = body.strip(" ").upper()
    index = f"^{text}"
    if text not in tables.symbols and (index in _DOLLAR_INDICES or index in tables.indices):
        names = (index, f"{text}.US")
        what = f"the symbol {'$' + text!r} is ambiguous: it may mean {' or '.join(names)}"
        return SymbolRefusal("ambiguous", what, names, "write the one that you mean")
    return classify(body, tables)


def _user_decision(text: str, tables: Classification) -> Instrument | SymbolRefusal:
    """Return the meaning of ``text`` according to the section ``symbols`` of the user's rules."""
    meaning = tables.symbols[text]
    if isinstance(meaning, str):
        return malformed(meaning) or _classify_text(meaning.strip(" ").upper(), tables)
    venues = (v.timezone for v in tables.exchanges.values() if v.calendar == meaning["calendar"])
    usual = NEW_YORK if meaning["calendar"] == "FX" else next(venues, "UTC")
    spellings = frozenset(meaning.get("spellings", ()))
    return Instrument(**{"symbol": text, "timezone": usual, **meaning}, own_spellings=spellings)


def _classify_text(text: str, tables: Classification) -> Instrument | SymbolRefusal:
    for step in _STEPS:
        verdict = step(text, tables)
        if verdict is not None:
            return verdict
    if ISIN.fullmatch(text):
        found = f"`onetape search {text}` finds its symbol, as does search({text!r})"
        return SymbolRefusal("unknown", f"{text!r} looks like an ISIN, not a symbol", hint=found)
    return SymbolRefusal(
        "unknown",
        f"{text!r} cannot be classified",
        hint="name the venue (7203.T, AAPL.NASDAQ), separate a pair (PEPE/USDT), or add a rule "
        f"under symbol_classification.symbols.{text}",
    )


# --- the steps -----------------------------------------------------------------------------


def _parse_marked(text: str, tables: Classification) -> Verdict:
    """Parse a symbol that contains one of the marks ``^``, ``=X`` and ``=F``."""
    if text.startswith("^"):
        suffix, spellings = f".{text.rpartition('.')[2]}", index_names(text)
        venue = tables.indices.get(text) or tables.exchanges.get(suffix, _usa(tables))
        return Instrument(text, "index", venue.calendar, venue.timezone, spellings=spellings)
    if text.endswith("=X"):
        pair = text.removesuffix("=X")
        return _currencies(f"USD{pair}" if len(pair) == 3 else pair, tables)
    if _FUTURE.fullmatch(text):
        # Sessions in these markets are dated by New York's day, wherever the exchange is.
        calendar = "CMES@equity" if text.removesuffix("=F") in _EQUITY_FUTURES else "CMES"
        return Instrument(text, "future", calendar, NEW_YORK, "CME")
    return None


def _parse_suffixed(text: str, tables: Classification) -> Verdict:
    """Parse a symbol with an exchange suffix, which takes precedence over a coin with the same name."""
    body, dot, tail = text.rpartition(".")
    if not dot:
        return None
    venue = tables.exchanges.get(f".{tail}")
    if venue is not None:
        return _stock(body, venue, tables)
    if _SHARE_CLASS.fullmatch(text):
        return None
    return SymbolRefusal(
        "unknown",
        f"{text!r} ends in .{tail}, which is not a known exchange suffix",
        hint="a rule can add it: symbol_classification.stock.exchange_suffixes",
    )


def _parse_separated(text: str, tables: Classification) -> Verdict:
    """Parse a pair or a share class that is written with a separator."""
    pair = _PAIR.fullmatch(text)
    if pair is not None:
        base, quote = pair.groups()
        if base in tables.currencies and quote in tables.currencies:
            return _currencies(base + quote, tables)
        if base != quote and (quote in tables.quotes or quote in tables.currencies):
            return _crypto(base, quote, tables)
    share = _SHARE_CLASS.fullmatch(text)
    if share is not None and share[1] not in tables.assets:
        return _stock(text, _usa(tables), tables)
    return None


def _parse_joined(text: str, tables: Classification) -> Verdict:
    """Parse a pair that has no separator; an unknown base is accepted only before a stablecoin."""
    if _are_currencies(text, tables):
        tether = (f"{text}T",) if text.endswith("USD") else ()
        return _ambiguity(text, (f"{text[:3]}/{text[3:]}", f"{text}=X", *tether))
    splits = _splits(text, tables)
    pair = _clear_pair(splits, tables)
    if pair is not None:
        return _crypto(*pair, tables)
    if not splits or any(p.fullmatch(text) for p in tables.crypto_patterns):
        return None
    return _ambiguity(text, [f"{base}-{quote}" for base, quote in splits])


def _splits(text: str, tables: Classification) -> list[tuple[str, str]]:
    """Return every way to read ``text`` as base and quote.

    Five letters are a US ticker unless they end in a stablecoin; FBTC is a fund, for example.
    """
    if not _JOINED.fullmatch(text):
        return []
    quotes = tables.stablecoins if len(text) == 5 else tables.all_quotes
    # The longest quote first.
    return [(text[:at], text[at:]) for at in range(1, len(text)) if text[at:] in quotes]


def _clear_pair(splits: list[tuple[str, str]], tables: Classification) -> tuple[str, str] | None:
    """Return the only plausible (base, quote) split, or None.

    The plausible split is the only one with a known base. If no base is known, it is the only
    possible split, provided that its quote is a stablecoin. For example, BNBUSD is BNB in USD, even
    though BUSD is also a stablecoin.
    """
    listed = [pair for pair in splits if pair[0] in tables.assets]
    if len(listed) == 1:
        return listed[0]
    is_only = len(splits) == 1 and splits[0][1] in tables.stablecoins
    return splits[0] if is_only else None


def _parse_bare(text: str, tables: Classification) -> Verdict:
    """Parse a plain ticker; a ticker that is also the name of a coin is ambiguous."""
    if text in tables.assets:
        pair = f"{text}USDC" if text == "USDT" else f"{text}USDT"
        return _ambiguity(text, (pair, f"{text}-USD", f"{text}.US"))
    return _stock(text, _usa(tables), tables) if _PLAIN.fullmatch(text) else None


def _parse_by_pattern(text: str, tables: Classification) -> Verdict:
    """Parse a symbol that only the user's patterns recognize."""
    is_crypto = any(p.fullmatch(text) for p in tables.crypto_patterns)
    is_stock = any(p.fullmatch(text) for p in tables.stock_patterns)
    if is_crypto and is_stock:
        return _ambiguity(text, ())
    if is_stock:
        venue = _usa(tables)
        return Instrument(text, "stock", venue.calendar, venue.timezone, quote=venue.quote)
    if not is_crypto:
        return None
    base, quote = next(iter(_splits(text, tables)), (text, ""))
    if not quote:
        return Instrument(text, "crypto", base=text)
    return replace(_crypto(base, quote, tables), symbol=text)


_STEPS: tuple[Callable[[str, Classification], Verdict], ...] = (
    _parse_marked,
    _parse_suffixed,
    _parse_separated,
    _parse_joined,
    _parse_bare,
    _parse_by_pattern,
)


# --- instruments ---------------------------------------------------------------------------

_USA = Exchange(".US", "US", "US", "XNYS", NEW_YORK, "US", "USD", "USD", "US", bare=True)


def _usa(tables: Classification) -> Exchange:
    return tables.exchanges.get(".US", _USA)


def _stock(body: str, venue: Exchange, tables: Classification) -> Instrument:
    """Build the instrument for a stock; share classes are written with a dash."""
    ticker = body.replace(".", "-").replace("/", "-")
    # A canonical spelling must have the same meaning when it is parsed again; SOL alone would not.
    is_ticker = _PLAIN.fullmatch(ticker) or _SHARE_CLASS.fullmatch(ticker)
    is_coin = ticker.partition("-")[0] in tables.assets or _splits(ticker, tables)
    is_clear = is_ticker and not is_coin and ticker not in tables.symbols
    suffix = venue.suffix if not venue.bare else "" if is_clear else ".US"
    return Instrument(
        ticker + suffix,
        "stock",
        venue.calendar,
        venue.timezone,
        exchange=None if venue.suffix == ".US" else venue.code,
        quote=venue.quote,
        spellings=stock_names(ticker, "" if venue.bare else suffix, suffix),
    )


def _crypto(base: str, quote: str, tables: Classification) -> Instrument:
    """Build the instrument for a crypto pair, with a separator in its symbol only if needed."""
    joined = base + quote
    meaning = None if joined in tables.symbols else _clear_pair(_splits(joined, tables), tables)
    return Instrument(
        joined if meaning == (base, quote) else f"{base}-{quote}",
        "crypto",
        base=base,
        quote=quote,
        spellings=pair_names(base, quote, is_dollar=quote in tables.stablecoins),
    )


def _currencies(pair: str, tables: Classification) -> Instrument | SymbolRefusal:
    """Build the instrument for a currency pair from six letters, or reject unknown currencies."""
    if not _are_currencies(pair, tables) or pair[:3] == pair[3:]:
        return SymbolRefusal("unknown", f"{pair!r} is not a pair of two known currencies")
    return Instrument(
        f"{pair}=X",
        "forex",
        "FX",
        NEW_YORK,
        base=pair[:3],
        quote=pair[3:],
        spellings=currency_names(pair),
    )


def _are_currencies(text: str, tables: Classification) -> bool:
    return len(text) == 6 and {text[:3], text[3:]} <= tables.currencies


def _ambiguity(text: str, candidates: Iterable[str]) -> SymbolRefusal:
    """Return a refusal for an ambiguous symbol, with a hint on how to resolve it."""
    clear = tuple(candidates)
    message = (
        f"it may mean {', '.join(clear)}" if clear else "patterns for pairs and for stocks match it"
    )
    rule = f"symbol_classification.symbols: {{{text}: {clear[0] if clear else '...'}}}"
    hint = f"write the one that you mean, or define it in the rules: {rule}"
    return SymbolRefusal("ambiguous", f"the symbol {text!r} is ambiguous: {message}", clear, hint)


# --- vendors' spellings: share classes, venues, pairs, indices -------------------------------
#
# Only spellings that differ from the canonical one are listed; a user's own ``spellings`` replace
# them.

# Each maps this library's suffix to the vendor's if they differ. EODHD has a suffix for every
# venue, including the USA.
_ALPHA_VANTAGE = {
    ".L": ".LON",
    ".TO": ".TRT",
    ".V": ".TRV",
    ".DE": ".DEX",
    ".BO": ".BSE",
    ".SS": ".SHH",
    ".SZ": ".SHZ",
}
_EODHD = {
    "": ".US",
    ".L": ".LSE",
    ".DE": ".XETRA",
    ".SG": ".STU",
    ".AX": ".AU",
    ".SS": ".SHG",
    ".SZ": ".SHE",
    ".KS": ".KO",
    ".NS": ".NSE",
    ".BO": ".BSE",
    ".KL": ".KLSE",
    ".WA": ".WAR",
    ".BD": ".BUD",
    ".JO": ".JSE",
}


def stock_names(ticker: str, suffix: str, own_suffix: str) -> Mapping[str, str]:
    """Return the vendors' spellings of a stock's symbol.

    Args:
        ticker: Symbol without the venue, with its share class after a dash.
        suffix: Suffix of the venue; empty for the USA.
        own_suffix: Suffix in this library's spelling. For a US stock, it is ``.US`` if the ticker
            would mean a coin, and empty otherwise.
    """
    others = {} if suffix == own_suffix else dict.fromkeys(VENDORS, ticker)
    names = others | {
        "alpha_vantage": ticker + _ALPHA_VANTAGE.get(suffix, suffix),
        "eodhd": ticker + _EODHD.get(suffix, suffix),
        "finnhub": ticker + suffix if suffix else ticker.replace("-", "."),
    }
    return {vendor: name for vendor, name in names.items() if name != ticker + own_suffix}


def pair_names(base: str, quote: str, *, is_dollar: bool) -> Mapping[str, str]:
    """Return the vendors' spellings of a crypto pair.

    Vendors that average over venues treat stablecoins as dollars.

    Args:
        base, quote: Coin, and the coin or currency in which its prices are quoted.
        is_dollar: Whether the quote is a stablecoin for dollars.
    """
    dollars = "USD" if is_dollar else quote
    return {
        "binance": base + quote,
        "yahoo": f"{base}-{dollars}",
        "alpha_vantage": f"{base}-{dollars}",
        "eodhd": f"{base}-{dollars}.CC",
        "finnhub": f"BINANCE:{base}{quote}",
    }


def currency_names(pair: str) -> Mapping[str, str]:
    """Return the vendors' spellings of a currency pair, which is given as six letters."""
    return {
        "yahoo": f"{pair}=X",
        "alpha_vantage": f"{pair[:3]}-{pair[3:]}",
        "eodhd": f"{pair}.FOREX",
    }


def index_names(symbol: str) -> Mapping[str, str]:
    """Return the vendors' spellings of an index, whose symbol begins with a caret."""
    return {"eodhd": f"{symbol[1:]}.INDX"}
