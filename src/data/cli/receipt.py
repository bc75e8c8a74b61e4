"""``onetape receipt make | verify | diff | show``: what a backtest read, checked by anybody."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import CacheError, QueryError
from .arguments import Actions, option
from .cached import manager_of
from .output import console
from .result import Line, Report, Shown, present
from .tables import styled, table

if TYPE_CHECKING:
    from ..research.receipts.receipt import Receipt

EXAMPLES = ("receipt make momentum -o momentum.receipt", "receipt verify momentum.receipt --fetch")

_STYLES = {
    **dict.fromkeys(("same", "same values"), "green"),
    **dict.fromkeys(("rebased", "revised", "other vendor"), "bold yellow"),
    **dict.fromkeys(("missing", "closed", "unread"), "yellow"),
    "changed": "bold red",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's actions to its parser."""
    actions = Actions(parser)
    made = actions.add(_make)
    option(made, "id ID", "id of a run (`onetape bundle lineage list`), or name of a bundle")
    option(made, "-o --out FILE", "file to write; .months is written beside it", required=True)
    option(made, "--bundles DIR", "bundle folder (default: the configured one)")
    verified = actions.add(
        _verify,
        "Exit code: the first of 2 (file changed), 1 (data differ), 3 (not compared) and 0 (all the "
        "same) that any line has.",
    )
    option(verified, "file FILE", "the receipt")
    how = verified.add_mutually_exclusive_group()
    option(how, "--fetch", "ask vendors even for what is stored here")
    option(how, "--offline", "compare only what is stored here")
    option(how, "--from FOLDER", "compare only what is stored in this cache folder", dest="source")
    compared = actions.add(_diff, "Exit code 0: equal. 1: different. 2: a file was changed.")
    option(compared, "first A", "a receipt")
    option(compared, "second B", "another receipt")
    shown = actions.add(_show)
    option(shown, "file FILE", "the receipt")
    option(
        shown, "--as FORMAT", "in-toto: a statement to be signed", choices=("in-toto",), dest="form"
    )


def _make(args: argparse.Namespace) -> Report:
    """Make the receipt of a run or of a bundle."""
    from ..research.receipts.made import make

    receipt = make(args.id, args.out, folder=args.bundles, manager=manager_of(args))
    document = {
        "file": args.out,
        "all": receipt.digest,
        "lines": [one.text for one in receipt.lines],
    }
    return Report(document, [Line(f"{args.out}: {receipt.digest}")])


def _verify(args: argparse.Namespace) -> int:
    """Compare everything in a receipt with what is stored here, or with what vendors send now."""
    from ..research.receipts.verify import verify

    if args.source is not None:
        args.cache_dir = args.source
    manager = manager_of(args, makes_folder=args.source is None)
    screen = console(stderr=True)
    with screen.status("reading") as status, _readable():
        found = verify(
            args.file,
            fetch=args.fetch,
            offline=args.offline or args.source is not None,
            manager=manager,
            progress=lambda done, total, line: status.update(f"{done}/{total} {line.kind} {line}"),
        )
    rows = [{**one.to_json(), "months": ", ".join(one.months)} for one in found.findings]

    def shown() -> Shown:
        """Yield a row for each line, then the number of lines in each state."""
        yield table(rows, "state kind name months? detail?", "", _STYLES)
        states = Counter(one.state for one in found.findings)
        yield styled(", ".join(f"{number} {state}" for state, number in states.items()), "bold")

    present(Report(found.to_json, shown, is_check=True, ok=not found.code), args)
    return found.code


def _diff(args: argparse.Namespace) -> Report:
    """Compare two receipts, in sentences."""
    from ..research.receipts.compare import differences

    first, second = _read(args.first), _read(args.second)
    texts = differences(first, second)
    lines = texts or ["Both runs read the same."]
    return Report({"differences": texts}, map(Line, lines), ok=not texts)


def _show(args: argparse.Namespace) -> Report:
    """Show a receipt, or a statement about it."""
    from ..research.receipts.compare import in_toto

    receipt = _read(args.file)
    if args.form is None:
        return Report({"lines": [one.text for one in receipt.lines]}, [Line(str(receipt).rstrip())])
    path = Path(args.file)
    document: dict[str, Any] = in_toto(receipt, path.name, path.read_bytes())
    return Report(document, [Line(json.dumps(document, indent=1))])


@contextmanager
def _readable() -> Iterator[None]:
    """Report a file that cannot be read as an invalid argument, which is exit code 2."""
    try:
        yield
    except CacheError as error:
        raise QueryError(str(error)) from error


def _read(path: str) -> Receipt:
    """Return a receipt whose digest is right.

    Raises:
        QueryError: It is not a receipt, or it was changed.
    """
    from ..research.receipts.receipt import read_receipt

    with _readable():
        receipt = read_receipt(path)
    if receipt.fault:
        raise QueryError(f"{path} was changed: {receipt.fault}")
    return receipt
