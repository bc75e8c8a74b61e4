"""``onetape setup``: the completion script of a shell, and the older import path ``src.data``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from typing import Any

from ..errors import MissingExtraError, install_line
from ..jobs.doctor.link import link, remove_link
from . import whole_parser
from .arguments import Actions, option
from .result import OK, Line, Report

EXAMPLES = ("setup completion bash", "setup link")
SENDS_REQUESTS = False

# How each shell loads its script; `eval` in a profile costs half a second at every start.
_LOADED = {
    "bash": "~/.local/share/bash-completion/completions/onetape",
    "zsh": "~/.zfunc/_onetape  (~/.zshrc: fpath+=~/.zfunc before compinit)",
    "fish": "~/.config/fish/completions/onetape.fish",
}
_TIMEFRAMES = ("1m", "5m", "15m", "30m", "1h", "4h", "1d", "1w", "1M")
# Arguments that name a vendor, and arguments that name a timeframe.
_VENDOR, _TIMEFRAME = ("provider", "against", "probe", "vendor"), ("timeframe",)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's actions to its parser."""
    actions = Actions(parser)
    ways = "\n".join(f"  onetape setup completion {sh} > {way}" for sh, way in _LOADED.items())
    completion = actions.nest("completion", "print the completion script for a shell")
    completion.formatter_class = argparse.RawDescriptionHelpFormatter
    completion.epilog = (
        f"Write the script to where your shell reads it, after each upgrade:\n{ways}"
    )
    option(completion, "shell SHELL", "bash, zsh or fish", type=str.lower, choices=[*_LOADED])
    completion.set_defaults(run=_print_script)
    linking = actions.add(
        _link,
        (
            "For programs that import src.data: it becomes another name of onetape.data, in all "
            "programs of this Python environment. Refused if the working directory has a src.data "
            "of its own."
        ),
        has_cache=False,
    )
    option(linking, "--remove", "undo it")


def _link(args: argparse.Namespace) -> Report:
    """Make the older import path src.data work beside an installed package."""
    file = remove_link() if args.remove else link()
    if args.remove:
        text = f"removed {file}" if file else "nothing to remove: src.data is not linked"
    else:
        text = f"src.data is onetape.data now: {file}" if file else "src.data is this checkout"
    document = {"linked": not args.remove, "file": str(file) if file else None}
    return Report(document, [Line(text)])


def _print_script(args: argparse.Namespace) -> int:
    """Print the completion script for a shell.

    Raises:
        MissingExtraError: The package that writes the script is not installed.
    """
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
    sys.stdout.write(f"{shtab.complete(parser, args.shell)}\n")
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
    from ..core.registry import VENDORS

    if action.dest in _VENDOR and action.choices is None:
        action.choices = [name for name, row in VENDORS.items() if row.bars]
    elif action.dest in _TIMEFRAME and action.choices is None:
        action.choices = _TIMEFRAMES
    elif action.metavar in ("FILE", "DIR"):
        completions = {"FILE": shtab.FILE, "DIR": shtab.DIRECTORY}
        action.complete = completions[str(action.metavar)]  # type: ignore[attr-defined] # shtab's own
