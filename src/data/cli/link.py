"""``onetape link``: makes the installed package importable as ``src.data`` as well, for older programs."""

from __future__ import annotations

import argparse

from ..jobs.link import link, remove_link
from .arguments import add_output
from .report import Line, Report


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options to its parser."""
    parser.add_argument("--remove", action="store_true", help="undo it")
    add_output(parser)
    parser.epilog = (
        "For programs that import src.data: it becomes another name of onetape.data, in all programs "
        "of this Python environment. Refused if the working directory has a src.data of its own."
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> Report:
    """Write or remove the path line, and report the file."""
    file = remove_link() if args.remove else link()
    if args.remove:
        text = f"removed {file}" if file else "nothing to remove: src.data is not linked"
    else:
        text = f"src.data is onetape.data now: {file}" if file else "src.data is this checkout"
    document = {"linked": not args.remove, "file": str(file) if file else None}
    return Report(document, [Line(text)])
