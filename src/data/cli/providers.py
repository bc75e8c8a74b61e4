"""``onetape providers``: what each vendor serves, and what it lacks on this machine."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ..core.config.terms import terms_of
from ..core.registry import FAMILIES, SERVED, family_of, is_of_market, is_sample
from ..errors import QueryError
from .arguments import add_timeout, command, option
from .result import Report, Shown, show
from .tables import TextTable, counted, facts, findings, styled, table

if TYPE_CHECKING:
    from rich.text import Text

    from ..core.provider_selector import ProviderSelector

EXAMPLES = ("providers", "providers yahoo")

_LEVELS = {"ok": ("✓", "green"), "fault": ("✗", "bold red"), "note": ("·", "yellow")}

# Not the name of any vendor.
_ALL = "*"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options to its parser."""
    option(
        parser,
        "vendor? NAME",
        (
            "show everything about this vendor; for a family (ccxt: the exchanges whose "
            "bars the installed package can fetch), list and count its vendors"
        ),
    )
    either = parser.add_mutually_exclusive_group()
    option(
        either,
        "--matrix",
        "what each vendor serves, by timeframe: page, depth, settling, prices, kind",
    )
    option(
        either,
        "--probe VENDOR",
        (
            "send one cheap request for each kind of data to every vendor with a key, or to "
            "one vendor, and show what the key allows"
        ),
        nargs="?",
        const=_ALL,
    )
    option(either, "--terms", "what vendors say about the use of their data; no legal opinion")
    add_timeout(parser, "with --probe: time for each request; default: 30 s without a response")
    command(parser, run)


def run(args: argparse.Namespace) -> Report:
    """Return the vendors and their order in each rule, or everything about one vendor or family.

    Raises:
        QueryError: Options are mutually exclusive.
        UnknownProviderError: The vendor does not exist.
    """
    if args.timeout is not None and args.probe is None:
        raise QueryError(
            "--timeout needs --probe: without it no request is sent",
            hint="add --probe, or omit --timeout",
        )
    if args.vendor is not None:
        if args.matrix or args.terms or args.probe is not None:
            raise QueryError(
                f"vendor {args.vendor} cannot be combined with --matrix, --terms or --probe",
                hint=f"omit one of them; --probe {args.vendor} probes only that vendor",
            )
        if args.vendor.strip().lower() in FAMILIES:
            return family(args.vendor)
        return _vendor(args)
    if args.probe is not None:
        return _probe(args)
    if args.terms:
        rows = [{"name": name, **row} for name, row in terms_of(_with_terms()).items()]
        return Report.rows(rows, "name word read? address?")
    from ..core.config.settings import load_settings
    from ..jobs.vendors.vendors import describe_vendors, routes, selector_of

    selector = selector_of(load_settings(args.cache_dir, args.config))
    if args.matrix:
        return _matrix(selector)
    vendors = [_row(vendor) for vendor in describe_vendors(selector)]
    ways = [way | {"order": _order(way)} for way in routes(selector)]
    return Report({"providers": vendors, "routes": ways}, _vendors_shown(vendors, ways))


def _with_terms() -> list[str]:
    """Return the vendors that are not on this machine."""
    return [name for name in [*SERVED, "fred", "sec"] if is_of_market(name) or name not in SERVED]


def _vendors_shown(vendors: Sequence[dict[str, Any]], ways: Sequence[dict[str, Any]]) -> Shown:
    yield table(vendors, "name state adjustment? per_minute#? key?")
    yield ""
    yield findings([("", v["name"], _serves(v)) for v in vendors])
    yield ""
    yield table(ways, "rule order timeframes?")
    if any(set(w["vendors"]) - set(w["ready"]) for w in ways):
        yield styled("a vendor in (brackets) cannot be used here", "dim")


def _probe(args: argparse.Namespace) -> Report:
    """Send a test request for each vendor's key and print the results as they arrive.

    The exit code is 1 if no key allows anything.
    """
    from ..core.clock import SystemClock
    from ..core.config.settings import load_settings
    from ..jobs.vendors.key_probe import probe, probed_vendors
    from ..jobs.vendors.vendors import selector_of

    clock = SystemClock()
    selector = selector_of(load_settings(args.cache_dir, args.config), clock)
    names, results = probed_vendors(selector, None if args.probe == _ALL else args.probe), []
    width = max(map(len, names), default=0)
    for name in names:
        for finding in probe(selector, name, clock, args.timeout):
            results.append(finding)
            if not args.json:
                mark, style = _LEVELS[finding.level]
                cells: list[Any] = [finding.topic]
                if finding.level != "ok":
                    cells.append(styled(finding.sentence, "dim"))
                show([findings([(styled(mark, style), name, cells)], width)])
    no_keys = "no vendor has a key here; --probe VENDOR probes a vendor anyway"
    ok = not results or any(result.level == "ok" for result in results)
    document = {"probe": [finding.to_json() for finding in results]}
    return Report(document, () if names else lambda: [styled(no_keys, "dim")], ok=ok)


def family(name: str) -> Report:
    """Return a report on a vendor family: its vendors and their number."""
    from ..jobs.vendors.vendors import describe_family

    members = describe_family(name)
    return Report(
        {"family": name, "count": len(members), "members": members},
        lambda: [
            table(members, "name title? timeframes"),
            styled(f"{counted(len(members), 'exchange')}, no request sent", "dim"),
        ],
    )


def _vendor(args: argparse.Namespace) -> Report:
    """Return a report with everything that is known about one vendor."""
    from ..core.config.settings import load_settings
    from ..jobs.vendors.vendors import vendor_profile

    profile = vendor_profile(load_settings(args.cache_dir, args.config), args.vendor)
    serves = [asdict(row) for row in profile["serves"]]
    return Report(profile | {"serves": serves}, _vendor_shown(profile))


def _vendor_shown(profile: dict[str, Any]) -> Shown:
    from ..jobs.vendors.matrix import BOUNDS, KIND_COLUMNS, bounds_table, kinds_table

    yield styled(f"{profile['name']}  {profile['title']}", "bold")
    yield ""
    styles = {"state": "green" if profile["ready"] else "yellow", "advice": "yellow"}
    yield facts(_facts(profile), styles)
    if served := profile["serves"]:
        for names, table in (BOUNDS, bounds_table), (KIND_COLUMNS, kinds_table):
            yield ""
            yield TextTable(names[1:], [row[1:] for row in table(served)])


def _facts(profile: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the label and text of each line about a vendor."""
    yield "state", "ready" if profile["ready"] else profile["why_not"]
    if profile["advice"] and not profile["ready"]:
        yield "advice", profile["advice"]
    if profile["aliases"]:
        yield "also", ", ".join(profile["aliases"])
    keys = [f"{name} ({state})" for name, state in profile["keys"].items()]
    is_needed = "" if profile["requires_api_key"] else ", optional"
    yield "keys", f"{', '.join(keys)}{is_needed}" if keys else "none"
    if profile["base_url"]:
        yield "address", profile["base_url"]
    limits = [f"{count:g} a {time}" for time, count in profile["limits"].items() if count]
    yield "limits", ", ".join(limits) or "none"
    if profile["health"]:
        yield "now", profile["health"]
    yield "actions", "splits and dividends" if profile["actions"] else "none"
    yield "companies", ", ".join(profile["fundamentals"]) or profile["no_fundamentals"] or "nothing"
    if not profile["timeframes"]:
        yield "bars", "none"
    polled = "no stream; polled as bars close" if profile["timeframes"] else "nothing"
    live = "streams bars" if profile["stream"] else profile["no_stream"] or polled
    yield "live", "none; these are historical bars" if is_sample(profile["name"]) else live
    yield "names", "searched" if profile["search"] else "not searched"
    if profile["package"]:
        yield "package", f"extra {family_of(profile['name'])}: {profile['package']}"
    positions = [f"{way['rule']} ({way['place']} of {way['of']})" for way in profile["rules"]]
    yield "rules", ", ".join(positions) or "none; used only by calls that name it"


def _matrix(selector: ProviderSelector) -> Report:
    from ..jobs.vendors.matrix import BOUNDS, KIND_COLUMNS, bounds_table, kinds_table, matrix

    entries = matrix(selector)
    # In a narrow terminal the leftmost columns are dropped last.
    bounds = [*BOUNDS[:2], *(f"{name}?" for name in BOUNDS[2:])]
    kinds = [*KIND_COLUMNS[:2], *(f"{name}?" for name in KIND_COLUMNS[2:])]
    return Report(
        {"matrix": [asdict(row) for row in entries]},
        lambda: [
            TextTable(bounds, bounds_table(entries)),
            "",
            TextTable(kinds, kinds_table(entries)),
        ],
    )


def _row(vendor: dict[str, Any]) -> dict[str, Any]:
    state = "ready" if vendor["ready"] else vendor["why_not"]
    if vendor["ready"] and vendor["gateway"]:  # only a request shows whether it answers
        state = f"needs a gateway at {vendor['gateway']}"
    return vendor | {
        "state": state,
        "key": "needed" if vendor["requires_api_key"] else "optional" if vendor["keys"] else "none",
    }


def _serves(vendor: dict[str, Any]) -> list[Text | str]:
    cells: list[Text | str] = [
        ", ".join(vendor["asset_classes"]),
        styled(" ".join(vendor["timeframes"]), "dim"),
    ]
    if not vendor["timeframes"]:
        cells = ["no bars"]
    by_days: dict[int, list[str]] = {}
    for label, days in vendor["depth_days"].items():
        by_days.setdefault(days, []).append(label)
    depths = [f"{' '.join(labels)} {counted(days, 'day')} back" for days, labels in by_days.items()]
    if depths:
        cells.append(styled(f"only {', '.join(depths)}", "dim"))
    if vendor["sample"]:
        cells.append(
            styled(f"sample bars, for calls that name it: --provider {vendor['name']}", "dim")
        )
    cells += [styled(f"→ {fault}", "yellow") for fault in vendor["faults"]]
    if not vendor["ready"] and vendor["advice"]:
        cells.append(styled(f"→ {vendor['advice']}", "yellow"))
    return cells


def _order(way: dict[str, Any]) -> str:
    names = [name if name in way["ready"] else f"({name})" for name in way["vendors"]]
    return " → ".join(names) or "-"
