"""The page about vendors, made of what the vendors' files declare; see ``pages.py``."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from onetape.data.core.config.rules_file import packaged_rules
from onetape.data.core.model.request.capabilities import Limits
from onetape.data.core.registry import SERVED, is_sample, row_of
from onetape.data.core.vendors.factory import downloader_class
from onetape.data.core.vendors.fundamentals_table import table_of
from onetape.data.jobs.vendors.matrix import BOUNDS, KIND_COLUMNS, bounds_table, kinds_table, served

_HEAD = """# What each vendor serves

Look up what each vendor serves, by timeframe. For your installation, with its keys, its rules and the
vendors of [other packages](adding-a-provider.md), run `onetape providers --matrix`. `make docs` generates
this page from what the vendors' files declare.

In the table, a *page* is the largest number of bars that one request returns, and *depth* is how
far back the bars reach. A closed bar that may still change is *provisional* until it has settled;
it is then fetched again. The *forming bar* is the bar that has not closed yet; it is never cached,
whether or not the vendor sends it. The last column shows whether `session="extended"` is available.
"""


def providers_page() -> str:
    """Return the page about this package's vendors, generated from their declarations."""
    classes = [downloader_class(name) for name in SERVED]
    entries = [entry for cls in classes for entry in served(cls.name, cls.capabilities)]
    vendors = [
        [
            f"`{cls.name}`",
            *_about(cls),
            ", ".join(cls.aliases) or "-",
            _keys(cls),
            _limits(cls.limits),
            *_served(cls.name),
        ]
        for cls in classes
    ]
    parts = [
        _HEAD,
        _table(("vendor", "timeframes: page", *BOUNDS[3:]), _joined(bounds_table(entries), 2)),
        "## Kinds of bars\n\nBars of different kinds are never mixed. `-` stands for a property that is "
        "unknown until the first request.\n",
        _table(KIND_COLUMNS, _joined(kinds_table(entries), 1)),
        _order(),
        "## Names, keys and limits\n\nThe limits apply unless the rules set others. *Live*: whether bars are "
        "streamed, or polled as they close. `onetape providers NAME` shows the state on your machine, and "
        "`help(onetape.vendors.YahooDataDownloader)` prints what is particular to a vendor.\n",
        _table(_COLUMNS, vendors),
    ]
    return "\n".join(parts)


_COLUMNS = (
    "vendor",
    "what it is",
    "other names",
    "keys",
    "limits",
    "extra",
    "fundamentals",
    "live",
    "search",
)


def _about(cls: Any) -> list[str]:
    """Return the first sentence of a vendor's package."""
    return [_paragraphs(import_module(cls.__module__).__doc__)[0].replace("\n", " ").rstrip(".")]


def _served(name: str) -> list[str]:
    """Return a vendor's extra, its fundamentals, how its bars arrive live, and whether names are searched."""
    row, table = row_of(name), table_of(name)
    return [
        f"`{name}`: {row.distribution}" if row.package else "-",
        ", ".join(sorted(table.types)) if table else "-",
        "-" if is_sample(name) else "streamed" if row.stream else "polled",
        "yes" if row.search else "-",
    ]


def _paragraphs(docstring: str | None) -> list[str]:
    """Return the paragraphs of a docstring before its first section, as Markdown."""
    text = re.split(
        r"^(?:Args|Attributes|Raises|Returns):$",
        inspect.cleandoc(docstring or ""),
        maxsplit=1,
        flags=re.MULTILINE,
    )[0]
    text = re.sub(r":\w+:`~?([\w.]+)`", lambda role: f"`{role[1].rpartition('.')[2]}`", text)
    return [paragraph.replace("``", "`") for paragraph in text.strip().split("\n\n") if paragraph]


def _order() -> str:
    """Return the page's section about the vendors in the packaged rules, and the call that lists them."""
    rules = packaged_rules().rules
    rows = [[name, ", ".join(rule.vendors)] for name, rule in rules.items()]
    share, coin = (rules[name].vendors for name in ("stock_intraday", "crypto"))
    return f"""## Order of the vendors

{_table(("rule", "vendors of the packaged rules, in order"), rows)}
If all keys are set, `ProviderSelector().get_provider_with_failover("AAPL", "5m")` returns
`{json.dumps(share)}`, and
`get_provider_with_failover("BTCUSDT", "1h")` returns `{json.dumps(coin)}`.
Vendors whose key is not set are left out. Yahoo, which needs none, comes last, so that a fresh installation
works. Nothing is added to the vendors in your own rules file.
"""


def _joined(rows: Sequence[Sequence[str]], count: int) -> list[list[str]]:
    """Return rows, those of a vendor that differ only in the ``count`` cells after its name as one."""
    lines: dict[tuple[str, ...], list[str]] = {}
    for vendor, *cells in rows:
        lines.setdefault((vendor, *cells[count:]), []).append(": ".join(cells[:count]))
    return [[vendor, "; ".join(cells), *rest] for (vendor, *rest), cells in lines.items()]


def _keys(cls: Any) -> str:
    keys = " ".join(f"`{s if isinstance(s, str) else s[0]}`" for s in cls.secrets)
    return (keys if cls.requires_api_key else f"{keys} (optional)") if keys else "none"


def _limits(limits: Limits) -> str:
    counts = {
        "a second": limits.per_second,
        "a minute": limits.per_minute,
        "a day": limits.per_day,
        "a month": limits.per_month,
    }
    return ", ".join(f"{count:g} {time}" for time, count in counts.items() if count) or "none"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
