"""The command-line parser: suggestions for mistyped words, two examples in each command's help."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NoReturn

# Required similarity of a mistyped command or option and the one that is suggested.
NEAR = 0.75
# Two spellings each of the same option; a command that has one of them accepts the other.
_SAME = (("--start", "--start-date"), ("--end", "--end-date"), ("--refresh", "--force-refresh"))
_OTHER_SPELLING = {one: other for pair in _SAME for one, other in (pair, pair[::-1])}


class Parser(argparse.ArgumentParser):
    """A parser that accepts ``-30d`` as a value, and suggests what a wrong command line means.

    Args:
        meant: Function that returns the command line that errors suggest; empty if there is none.
        args, kwargs: As for ``argparse.ArgumentParser``.

    Attributes:
        examples: Example calls for the help text, without the program's name.
    """

    examples: tuple[str, ...] = ()

    def __init__(self, *args: Any, meant: Callable[[], str] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._meant = meant or str
        # A minus sign and a digit start a value, as in Python 3.14 and later: no option starts with
        # a digit.
        self._negative_number_matcher = re.compile(r"-\.?\d")
        self._words: Sequence[str] = ()

    def add_subparsers(self, **kwargs: Any) -> Any:
        """Add parsers for the actions, as ``argparse.ArgumentParser`` does."""
        kwargs["parser_class"] = partial(type(self), meant=self._meant)
        return super().add_subparsers(**kwargs)

    def format_help(self) -> str:
        """Return the help text, with examples."""
        program = self.prog.partition(" ")[0]
        lines = [f"  {program} {example}\n" for example in self.examples]
        return super().format_help() + "".join(["\nexamples:\n", *lines] if lines else [])

    def parse_known_args(  # type: ignore[override] # of one type here
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse arguments; reject unknown ones immediately, because each command has its own options."""
        self._words = args or ()
        args = None if args is None else self._own_spellings(args)
        parsed, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self._refuse(unknown)
        return parsed, unknown

    def _own_spellings(self, words: Sequence[str]) -> list[str]:
        """Return the words with options as this command spells them (``--start`` or ``--start-date``)."""
        own, known = [], self._option_string_actions
        given = {word.partition("=")[0] for word in words}
        for word in words:
            name, equals, value = word.partition("=")
            other = _OTHER_SPELLING.get(name)
            if other in given and (name in known or other in known):
                self.error(f"{name} and {other} are the same option: give only one of them")
            is_other = name not in known and other in known
            own.append(f"{other}{equals}{value}" if is_other else word)
        return own

    def _refuse(self, unknown: Sequence[str]) -> NoReturn:
        """Reject unknown words with the nearest options or, if none is similar, with all options."""
        from ..core.guesses import ARGUMENTS, OUTPUTS, UNNEEDED
        from ..core.model.words.suggestion import nearest

        names = [word.partition("=")[0].strip("-") for word in unknown if word.startswith("-")]
        options = [name for name in self._option_string_actions if name.startswith("--")]
        known = [name.strip("-") for name in options]
        guesses = {*ARGUMENTS, *OUTPUTS}
        mistyped = [name for name in names if name.replace("-", "_") not in guesses]
        near = dict.fromkeys(filter(None, (nearest(name, known) for name in mistyped)))
        reasons = [UNNEEDED.get(name.replace("-", "_"), "") for name in names]
        if any(reasons):  # the value may be a key
            unknown = [f"--{name}" for name in names]
            advice = "; ".join(dict.fromkeys(filter(None, reasons)))
        elif near:
            advice = f"did you mean {' '.join(f'--{name}' for name in near)}?"
        elif not names and any(action.nargs == "+" for action in self._get_positional_actions()):
            advice = "put all symbols and values together"
        else:
            advice = f"options: {' '.join(options)}"
        self.error(f"unknown: {' '.join(unknown)}", advice)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is None or value in action.choices:
            return
        # What describes an error is imported here and below, because the help text needs none of it.
        from ..core.guesses import COMMAND_GUESSES
        from ..core.model.words.suggestion import did_you_mean

        names = [str(choice) for choice in action.choices]
        what = f"there is no {str(action.metavar or 'value').lower()} {value!r}"
        is_command = isinstance(action, argparse._SubParsersAction)
        is_guess = is_command and str(value).lower() in COMMAND_GUESSES
        cutoff = NEAR if is_command else 0.6
        near = "" if is_guess else did_you_mean(str(value), names, cutoff=cutoff)
        advice = f"{near}known: {', '.join(names)}"
        if not is_command:
            raise argparse.ArgumentError(action, f"{what} ({advice})")
        # An unknown option in front of the word would have taken it as its value.
        before = self._words[: self._words.index(value)] if value in self._words else ()
        unknown = [word for word in before if word.startswith("--") and not self._is_known(word)]
        if unknown:
            self._refuse(unknown)
        self.error(what, advice)

    def _is_known(self, word: str) -> bool:
        name = word.partition("=")[0]
        return any(option.startswith(name) for option in self._option_string_actions)

    def error(self, message: str, advice: str = "") -> NoReturn:
        """Print the error, as JSON if requested, and the right command line; exit with code 2.

        If that is not certain, the advice and a hint on how to get help are printed instead.
        """
        from ..core.model.words.printable import printable
        from ..errors import QueryError, shortened
        from .output import described, print_json

        if self._subparsers is not None and message.endswith("required: ACTION"):
            advice = f"one of: {', '.join(self._subparsers._group_actions[0].choices or ())}"
        line = self._meant()
        if advice and not (line and advice.startswith(("known", "options"))):
            message += f" ({advice})"
        hint = f"use `{line}`" if line else f"see `{self.prog} --help`"
        text = shortened(printable(message))
        if "--json" in self._words:
            print_json({"error": described(QueryError(text, hint=hint))})
        self.exit(2, f"{self.prog}: {text}\n  {hint}\n")
