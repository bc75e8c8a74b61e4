"""A reader of pages that works as a browser does: the data, the text, and what would be loaded or run."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

from src.data.show.charts.pages import DATA_ID

VOID = {"br", "col", "hr", "img", "input", "link", "meta"}
# What loads something, or runs.
LOADING = {"src", "href", "srcset", "action", "data", "poster", "background"}


@dataclass
class Shown:
    """What a page consists of.

    Attributes:
        data: its JSON.
        text: all that is read.
        urls: what it would load.
        handlers: attributes that would run.
    """

    data: Any = None
    text: str = ""
    urls: list[str] = field(default_factory=list)
    handlers: list[str] = field(default_factory=list)
    scripts: int = 0


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.shown = Shown()
        self._open: list[tuple[str, dict[str, str], list[str]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        own = {name: value or "" for name, value in attrs}
        self.shown.urls += [own[name] for name in own if name in LOADING and own[name] != "data:,"]
        self.shown.handlers += [name for name in own if name.startswith("on")]
        self.shown.scripts += tag == "script"
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


def read_page(text: str) -> Shown:
    """Return what a page consists of."""
    reader = _Reader()
    reader.feed(text)
    reader.close()
    assert reader._open == []
    return reader.shown


def columns_of(data: Any, place: int = 0) -> dict[str, list[Any]]:
    """Return the bars of a chart's page as lists of numbers, read as ``docs/charts.md`` says.

    ``at`` has the column of each, ``time`` its first second, ``vendor`` its vendors.
    """
    one = data["series"][place]
    at = [n for n, close in enumerate(one["close"]) if close is not None]
    bars = {"at": at, "time": [data["time"][n] for n in at]}
    for name in ("open", "high", "low", "close", "volume", "bars"):
        if one.get(name):
            bars[name] = [one[name][n] for n in at]
    if one.get("vendor"):
        bars["vendor"] = [([*one["vendors"], ""])[one["vendor"][n]] for n in at]
    return bars
