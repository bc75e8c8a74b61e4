"""Options that several commands share."""

from __future__ import annotations

import argparse


def add_places(parser: argparse.ArgumentParser) -> None:
    """Add where the cache and the rules lie."""
    parser.add_argument("--cache-dir", metavar="DIR", help="the cache folder")
    parser.add_argument("--config", metavar="FILE", help="rules laid over the packaged ones")


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add the switch for machines."""
    parser.add_argument("--json", action="store_true", help="print JSON for machines")


def listed(text: str) -> list[str]:
    """Split ``A,B C`` into its parts."""
    return [part for part in text.replace(",", " ").split() if part]
