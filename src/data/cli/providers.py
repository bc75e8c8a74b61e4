"""``onetape providers``: who serves what, and what each one lacks on this machine."""

from __future__ import annotations

import argparse
from typing import Any

from . import OK
from .arguments import add_json, add_places
from .output import console, print_json, table


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_json(parser)
    add_places(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the vendors and the route of each rule."""
    from ..data_manager import DataManager
    from ..jobs.checkup import describe_vendors, routes

    selector = DataManager(args.cache_dir, args.config).provider_selector
    vendors, ways = describe_vendors(selector), routes(selector)
    if args.json:
        print_json({"providers": vendors, "routes": ways})
        return OK
    screen = console()
    screen.print(table("vendors", ["vendor", "state", "classes", "timeframes", "prices", "a minute#"],
                       [_vendor_row(v) for v in vendors]))  # fmt: skip
    screen.print(table("who is asked, in order", ["rule", "timeframes", "vendors"],
                       [[w["rule"], " ".join(w["timeframes"]), _order(w)] for w in ways]))  # fmt: skip
    screen.print("a vendor in (brackets) cannot be asked here; the state says why", style="dim")
    return OK


def _vendor_row(vendor: dict[str, Any]) -> list[str]:
    state = "[green]ready[/]" if vendor["ready"] else f"[yellow]{vendor['why_not']}[/]"
    return [
        f"{vendor['name']}\n[dim]{vendor['title']}[/]", state, " ".join(vendor["asset_classes"]),
        " ".join(vendor["timeframes"]), vendor["adjustment"], str(vendor["per_minute"] or "-"),
    ]  # fmt: skip


def _order(way: dict[str, Any]) -> str:
    return " → ".join(n if n in way["ready"] else f"[dim]({n})[/]" for n in way["vendors"]) or "-"
