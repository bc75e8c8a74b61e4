"""One HTML file that opens from disk: it contains its style, script and data, and loads nothing."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from ..model.html import Html, element, escaped
from ..model.printable import printable
from .files import packaged

DATA_ID = "data"


def page(
    title: str,
    *body: object,
    style: str = "",
    script: str = "",
    data: Any = None,
    parts: Mapping[str, Any] | None = None,
) -> str:
    """Return a complete HTML page as text.

    A content security policy with the script's digest keeps the page from loading anything, and
    from running any script but its own. A script in a vendor's text or in a symbol would not run
    even if it were not escaped.

    Args:
        title: Title of the browser window; the page itself shows it only if ``body`` contains it.
        body: Elements and text; anything that is not :class:`~onetape.data.model.html.Html` is escaped.
        style: CSS rules to add after the rules in ``page.css``. They must be written by this
            package, never taken from outside.
        script: Script that runs at the end of the page. It must be written by this package, never
            taken from outside. It reads ``data`` from the element :data:`DATA_ID`.
        data: Data of the page, as values that JSON can represent, without NaN; None for no data.
        parts: Maps the id of each further data element to its values, such as the bars of a chart.
    """
    styles = packaged("page.css") + style
    allowed = f"'sha256-{_digest(script)}'" if script else "'none'"
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src {allowed}"
    head = [
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="referrer", content="no-referrer"),
        # Without an icon in the page, a browser requests one.
        element("link", rel="icon", href="data:,"),
        element("title", printable(title)),
        element("style", Html(styles)),
    ]
    values = {} if data is None else {DATA_ID: data}
    end = [
        element("script", as_data(value), id=name, type="application/json")
        for name, value in (values | dict(parts or {})).items()
    ]
    if script:
        end.append(element("script", Html(script)))
    content = element("body", *(escaped(part) for part in body), *end)
    return f'<!doctype html>\n<html lang="en">{element("head", *head)}{content}</html>\n'


def plain_values(data: Any) -> Any:
    """Convert values for use in a page's data: NaN becomes None, and types that JSON lacks become text."""
    text = json.dumps(data, default=str)
    return json.loads(text, parse_constant=lambda _: None)


def as_data(data: Any) -> Html:
    """Return values as JSON for a script element, escaped so that the JSON cannot end the element.

    Raises:
        ValueError: A number is NaN or infinite, which JSON parsers in browsers reject.
    """
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Html(text)


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
