"""``onetape completion``: prints the script for shell completion of commands and options."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from typing import Any

from ..errors import MissingExtraError, QueryError, install_line
from . import whole_parser
from .report import OK

# How each shell loads its script; `eval` in a profile costs half a second at every start.
_LOADED = {
    "bash": "onetape completion bash > ~/.local/share/bash-completion/completions/onetape",
    "zsh": "onetape completion zsh > ~/.zfunc/_onetape  (~/.zshrc: fpath+=~/.zfunc before compinit)",
    "fish": "onetape completion fish > ~/.config/fish/completions/onetape.fish",
}
_TIMEFRAMES = ("1m", "5m", "15m", "30m", "1h", "4h", "1d", "1w", "1M")
# Arguments that name a vendor, and arguments that name a timeframe.
_VENDOR, _TIMEFRAME = ("provider", "against", "probe", "vendor"), ("timeframe",)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the argument for the shell."""
    ways = "\n".join(f"  {way}" for way in _LOADED.values())
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = (
        "Write the script to the place that your shell reads, and again after each "
        f"upgrade:\n{ways}"
    )
    parser.add_argument("shell", metavar="SHELL", help=f"one of {', '.join(_LOADED)}")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the completion script for a shell.

    Raises:
        QueryError: That shell is not supported.
        MissingExtraError: The package that writes the script is not installed.
    """
    shell = args.shell.strip().lower()
    if shell not in _LOADED:
        raise QueryError(
            f"no completion script for shell {args.shell!r}",
            hint=f"use one of {', '.join(_LOADED)}",
        )
    try:
        import shtab
    except ImportError as exc:
        raise MissingExtraError(
            "the package shtab, which writes completion scripts, is not installed",
            hint=install_line("completion"),
        ) from exc
    parser = whole_parser()
    for action in _actions(parser):
        _set_completions(action, shtab)
    sys.stdout.write(f"{shtab.complete(parser, shell)}\n")
    return OK


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Yield every option and argument of a parser and its commands."""
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _actions(command)


def _set_completions(action: argparse.Action, shtab: Any) -> None:
    """Set the choices or files that a shell offers as completions for an argument.

    This changes the parser, which is used only to generate the script, never to parse.
    """
    from ..vendors.registry import VENDORS

    if action.dest in _VENDOR and action.choices is None:
        action.choices = [name for name, row in VENDORS.items() if row.bars]
    elif action.dest in _TIMEFRAME and action.choices is None:
        action.choices = _TIMEFRAMES
    elif action.metavar in ("FILE", "DIR"):
        completions = {"FILE": shtab.FILE, "DIR": shtab.DIRECTORY}
        action.complete = completions[str(action.metavar)]  # type: ignore[attr-defined] # shtab's own
