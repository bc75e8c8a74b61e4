"""One HTML file that opens from disk: its style, script and data are in it, and it loads nothing."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

from ..model.html import Html, element, escaped
from ..model.printable import printable

DATA_ID = "data"
# What every page looks like, light and dark. Pages add rules of their own behind these.
STYLE = """
:root { color-scheme: light dark; --ink: #1c2430; --faint: #5d6878; --line: #d5dae1; --paper: #fff;
  --panel: #f4f6f8; --good: #14794f; --poor: #9a6700; --bad: #b42318; --accent: #1f5fbf; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8ee; --faint: #9aa5b5; --line: #38414f;
  --paper: #14181f; --panel: #1d232d; --good: #4cc38a; --poor: #e0ae4a; --bad: #ff7b6b;
  --accent: #7fb0ff; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 3rem; max-width: 72rem; background: var(--paper);
  color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: 0 0 .25rem; } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
p, table { margin: .5rem 0; } a { color: var(--accent); } .faint { color: var(--faint); }
.good { color: var(--good); } .poor { color: var(--poor); } .bad { color: var(--bad); }
.wide { overflow-x: auto; } code, pre { font: .9em ui-monospace, monospace; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--faint); padding: .25rem 0; }
th, td { text-align: left; vertical-align: top; padding: .25rem .75rem .25rem 0;
  border-bottom: 1px solid var(--line); } th { font-weight: 600; }
td.number, th.number { text-align: right; }
"""


def page(title: str, *body: object, style: str = "", script: str = "", data: Any = None) -> str:
    """Return a whole page as text.

    The page forbids itself to load anything and to run any script but its own, by a content
    security policy with the script's digest: what comes from a vendor or a symbol and looks like a
    script is not run even where it were not escaped.

    Args:
        title: stands in the window's title and, unless ``body`` says otherwise, nowhere else.
        body: elements and texts; what is not :class:`~src.data.model.html.Html` is escaped.
        style: rules behind :data:`STYLE`, by this package; never a value from outside.
        script: runs at the end of the page, by this package; never a value from outside. It reads
            ``data`` from the element :data:`DATA_ID`.
        data: plain values that JSON can write, without NaN; None for none.
    """
    styles = STYLE + style
    allowed = f"'sha256-{_digest(script)}'" if script else "'none'"
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src {allowed}"
    head = [
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="referrer", content="no-referrer"),
        # A page without an icon of its own makes a browser ask for one.
        element("link", rel="icon", href="data:,"),
        element("title", printable(title)),
        element("style", Html(styles)),
    ]
    end = []
    if data is not None:
        end.append(element("script", as_data(data), id=DATA_ID, type="application/json"))
    if script:
        end.append(element("script", Html(script)))
    content = element("body", *(escaped(part) for part in body), *end)
    return f'<!doctype html>\n<html lang="en">{element("head", *head)}{content}</html>\n'


def plain_values(data: Any) -> Any:
    """Return values as a page's data have them: what JSON cannot write as text, None for NaN."""
    text = json.dumps(data, default=str)
    return json.loads(text, parse_constant=lambda _: None)


def as_data(data: Any) -> Html:
    """Return JSON that stands in a script element: nothing in it can end the element.

    Raises:
        ValueError: a number is NaN or infinite; browsers' JSON has none.
    """
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Html(text)


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
