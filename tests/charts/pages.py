"""A reader of pages that works as a browser does: the data, and each displayed value with its place."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from html.parser import HTMLParser
from itertools import accumulate
from typing import Any

from src.data.charts.page import DATA_ID
from src.data.model.texts import duration, moment

VOID = {"br", "col", "hr", "img", "input", "link", "meta"}
# What loads something, or runs.
LOADING = {"src", "href", "srcset", "action", "data", "poster", "background"}


@dataclass
class Shown:
    """What a page consists of.

    Attributes:
        data: its JSON.
        values: place in the data and text, for each value that is shown.
        text: all that is read.
        urls: what it would load.
        handlers: attributes that would run.
    """

    data: Any = None
    values: list[tuple[str, str]] = field(default_factory=list)
    text: str = ""
    urls: list[str] = field(default_factory=list)
    handlers: list[str] = field(default_factory=list)
    scripts: int = 0


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.shown = Shown()
        self._open: list[tuple[str, dict[str, str], list[str]]] = []
        self._keys: list[str] = []
        self._row: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        own = {name: value or "" for name, value in attrs}
        self.shown.urls += [own[name] for name in own if name in LOADING and own[name] != "data:,"]
        self.shown.handlers += [name for name in own if name.startswith("on")]
        self.shown.scripts += tag == "script"
        if tag == "thead":
            self._keys = []
        if tag == "th" and "data-key" in own:
            self._keys.append(own["data-key"])
        if tag == "tr":
            self._row = []
        if tag not in VOID:
            self._open.append((tag, own, []))

    def handle_data(self, data: str) -> None:
        for _, _, texts in self._open:
            texts.append(data)
        if not any(tag in ("script", "style") for tag, _, _ in self._open):
            self.shown.text += data

    def handle_endtag(self, tag: str) -> None:
        name, own, texts = self._open.pop()
        assert name == tag, f"<{name}> is ended by </{tag}>"
        text = "".join(texts)
        if tag == "script" and own.get("id") == DATA_ID:
            self.shown.data = json.loads(text)
        elif tag == "tr" and "data-at" in own:
            pairs = zip(self._keys, self._row, strict=True)
            self.shown.values += [(f"{own['data-at']}/{key}", cell) for key, cell in pairs]
        elif "data-at" in own:
            self.shown.values.append((own["data-at"], text))
        if tag == "td":
            self._row.append(text)


def read_page(text: str) -> Shown:
    """Return what a page consists of."""
    reader = _Reader()
    reader.feed(text)
    reader.close()
    assert reader._open == []
    return reader.shown


def value_at(data: Any, place: str) -> Any:
    """Return the value at a place such as ``series/0/rows``; keys may hold a stroke themselves."""
    if not place:
        return data
    if isinstance(data, list):
        head, _, rest = place.partition("/")
        return value_at(data[int(head)], rest)
    key = max((k for k in data if place == k or place.startswith(f"{k}/")), key=len)
    return value_at(data[key], place[len(key) + 1 :])


def differing(data: Any, values: list[tuple[str, str]]) -> list[tuple[str, str, Any]]:
    """Return the values of a page that are not what its data have at their places."""
    wrong = []
    for place, text in values:
        value = value_at(data, place)
        if text not in _spellings(value):
            wrong.append((place, text, value))
    return wrong


def _spellings(value: Any) -> set[str]:
    """Return how a value may be written; a number in one way alone."""
    if value is None or value in ("", [], {}):
        return {"–", "-", "never", "none held"}
    if isinstance(value, bool):
        return {"yes" if value else "no"}
    if isinstance(value, int):
        return {f"{value:,}", duration(value)}
    if isinstance(value, float):
        return {repr(value), f"{value:.1f}"}
    if isinstance(value, list) and isinstance(value[0], dict):
        more = f" (and {len(value) - 1:,} more)" if value[1:] else ""
        return {f"{value[0]['text']}{more}"}
    if isinstance(value, list):
        return {", ".join(value), ", ".join(value[:5]) + " …"}
    if isinstance(value, dict):
        return {", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in value.items())}
    # Commands in backticks are shown as code.
    return {value, value.replace("_", " "), value.replace("`", ""), moment(value)}


def columns_of(data: Any, place: int = 0) -> dict[str, list[Any]]:
    """Return the bars of a chart's page as lists of numbers, read as ``docs/charts.md`` says.

    ``at`` has the column of each, ``time`` its first second, ``vendor`` its vendors.
    """
    one = data["series"][place]
    at = [n for first, end in one["filled"] for n in range(first, end)]
    walls = list(accumulate(value for value, often in data["time"] for _ in range(often)))
    bars: dict[str, list[Any]] = {"at": at, "time": [walls[n] for n in at]}
    if "open" not in one:
        bars["close"] = [n / 10 ** one["decimals"] for n in accumulate(one["close"])]
        return bars
    close, names = 0, ("open", "high", "low", "close")
    bars |= {name: [] for name in names} | {"volume": one["volume"]}
    for row in range(len(at)):
        opened = close + one["open"][row]
        close = opened + one["close"][row]
        high, low = max(opened, close) + one["high"][row], min(opened, close) - one["low"][row]
        for name, value in zip(names, (opened, high, low, close), strict=True):
            bars[name].append(value / 10 ** one["decimals"])
    runs = [(range(first, end), name) for first, end, name in one["vendors"]]
    bars["vendor"] = [next((name for run, name in runs if n in run), "") for n in at]
    return bars
