"""Options that several commands share."""

from __future__ import annotations

import argparse


def add_places(parser: argparse.ArgumentParser) -> None:
    """Add where the cache and the rules lie."""
    parser.add_argument("--cache-dir", metavar="DIR", help="the cache folder")
    parser.add_argument("--config", metavar="FILE", help="rules laid over the packaged ones")


def add_output(parser: argparse.ArgumentParser) -> None:
    """Add how it is told."""
    parser.add_argument("--json", action="store_true", help="print JSON for machines")
    # Also behind the command; left out there, what stands before it counts.
    parser.add_argument("-v", "--verbose", action="store_true", default=argparse.SUPPRESS,
                        help="show what is logged")  # fmt: skip
    parser.add_argument("--log", choices=("text", "json"), metavar="FORMAT",
                        default=argparse.SUPPRESS, help="log as text or json")  # fmt: skip


def listed(text: str) -> list[str]:
    """Split ``A,B C`` into its parts.

    Raises:
        argparse.ArgumentTypeError: there is none.
    """
    parts = [part for part in text.replace(",", " ").split() if part]
    if not parts:
        raise argparse.ArgumentTypeError("names at least one, such as A,B,C")
    return parts


def positive(text: str) -> int:
    """Read a whole number from 1 on.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive whole number")
    return int(text)


def seconds(text: str) -> float:
    """Read a number of seconds from a tenth to a day.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.1 <= value <= 86_400:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds from 0.1 to 86400")
    return value
