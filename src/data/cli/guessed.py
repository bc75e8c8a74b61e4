"""The command line that a user of other tools meant by one that cannot run."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from itertools import chain
from typing import Any

from ..core.guesses import ARGUMENTS, COMMAND_GUESSES, OUTPUTS, PROGRAM_OPTIONS, UNNEEDED, switched
from ..core.model.time.timeframe import Timeframe
from ..core.model.words.printable import printable
from ..core.model.words.suggestion import nearest
from ..core.symbols.classify import ISIN
from ..errors import QueryError
from .parser import NEAR, Parser

# A longer command line is not repeated, because an error would shorten it.
_LONGEST = 400
_OPTION = re.compile(r"-(?!\.?\d).")
# A word that is probably a symbol rather than a mistyped command.
_SYMBOL = re.compile(r"\^?(?=[^a-z]*[A-Z])[A-Z0-9][A-Z0-9.=:/^_-]*")
_SERIES = ({"symbol", "timeframe"}, {"symbols", "timeframe"})
_ParserOf = Callable[[Sequence[str]], argparse.ArgumentParser]


def meant_line(words: Sequence[str], usual: Sequence[str], parser_of: _ParserOf) -> str:
    """Return the command line that was probably meant, quoted for a shell; empty if none is certain.

    It has the user's own arguments, is accepted by the parser, and means something else.

    Args:
        words: The words as typed.
        usual: The words in the usual spelling of commands.
        parser_of: Function that returns the parser for words.
    """
    meant = _meant(list(words if words[0] in COMMAND_GUESSES else usual), parser_of)
    line = shlex.join(["onetape", *meant])
    if not meant or len(line) > _LONGEST or printable(line) != line or "\n" in line:
        return ""
    parsed = _parsed(meant, parser_of)
    return line if parsed is not None and parsed != _parsed(usual, parser_of) else ""


def _parsed(words: Sequence[str], parser_of: _ParserOf) -> argparse.Namespace | None:
    """Return the parsed words, which are empty after an option such as ``--help``; None if refused."""
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        try:
            parsed = parser_of(words).parse_args(words)
            parsed.run = None  # it may be another object each time
            return parsed
        except SystemExit as end:
            return None if end.code else argparse.Namespace()


def _meant(words: list[str], parser_of: _ParserOf) -> list[str]:
    """Return the words that were probably meant; empty if that is unclear."""
    at = 0
    while at < len(words) and _OPTION.match(words[at]):
        at += 2 if words[at] == "--log" else 1
    before, rest = [PROGRAM_OPTIONS.get(word, word) for word in words[:at]], words[at + 1 :]
    if at >= len(words):
        return before
    parsers, name = _actions(parser_of(())), words[at].lower().replace("-", "_")
    if _SYMBOL.fullmatch(words[at]) and name not in {*parsers, *COMMAND_GUESSES}:
        name, rest = "search" if ISIN.fullmatch(words[at]) else "fetch", words[at:]
    command = _guessed(name, parsers)
    if command == ["--help"] and rest:
        return [*before, *_guessed(rest[0], parsers)[:1], *rest[1:], *command]
    if not command or command[0] not in parsers:
        return [*before, *command]
    line = _Line(command, _actions(parser_of(command))[command[0]])
    is_bare = len(command) == 1 and not _actions(line.parser) and {*rest} <= {"--json"}
    if is_bare and _parsed(command, parser_of) is None:
        return [*before, *shlex.split(line.parser.examples[0]), *rest]
    return [*before, *line.meant(rest)]


def _guessed(word: str, known: Mapping[str, Any]) -> list[str]:
    """Return the words of the command that a guessed or mistyped one means; empty if unknown."""
    near = nearest(word, known, cutoff=NEAR)
    return [word] if word in known else COMMAND_GUESSES.get(word, near).split()


def _actions(parser: argparse.ArgumentParser) -> Mapping[str, Parser]:
    """Return the parsers of a parser's commands or actions, by name."""
    groups = parser._subparsers._group_actions if parser._subparsers else []
    return next((group.choices for group in groups if isinstance(group.choices, Mapping)), {})


class _Line:
    """A command whose arguments are corrected one after the other.

    Args:
        command: The command, and the arguments that its guessed name implies.
        parser: Parser of the command.
    """

    def __init__(self, command: list[str], parser: Parser) -> None:
        self.parser, self._command, self._implied = parser, command[:1], command[1:]
        # The arguments that are not options, and each option with its values.
        self._places: list[str] = []
        self._options: list[list[str]] = []

    def meant(self, left: list[str]) -> list[str]:
        """Return the corrected words; empty if one of ``left`` has no counterpart here."""
        while (actions := _actions(self.parser)) and (self._implied or left):
            *_, word = _guessed((self._implied or left).pop(0).lower(), actions) or [""]
            if word not in actions:
                return []
            self._command, self.parser = [*self._command, word], actions[word]
        while left:
            word = left.pop(0)
            if not _OPTION.match(word):
                self._places.append(word)
            elif not self._take_option(word, left):
                return []
        if self._implied and self._implied[0] not in {option[0] for option in self._options}:
            self._options.insert(0, self._implied)
        return [*self._command, *self._ordered_places(), *chain(*self._options)]

    def _take_option(self, word: str, left: list[str]) -> bool:
        """Take an option and its value, which may be the next word; return False if it is unknown."""
        name, equals, value = word.partition("=")
        known, mine = self.parser._option_string_actions, name.strip("-")
        guess = mine.replace("-", "_").lower()
        has_next = bool(left) and (left[0] == "-" or not _OPTION.match(left[0]))
        if name not in known:
            places = {action.dest for action in self.parser._get_positional_actions()}
            own = [option.strip("-") for option in known]
            mine = ARGUMENTS.get(guess) or nearest(mine, own, cutoff=NEAR)
            name = f"--{mine.replace('_', '-')}"
            if guess in OUTPUTS or guess in UNNEEDED or {mine, f"{mine}s"} & places:
                value = value if equals or not has_next else left.pop(0)
                if guess in OUTPUTS:
                    return self._take_output(guess, value)
                self._places += [] if guess in UNNEEDED else re.findall(r"[^\s,]+", value)
                return True
        if name not in known:
            return False
        action, values = known[name], [value] if equals else []
        if not equals and (meaning := switched(guess, mine)):
            has_next, values = has_next and left[0] in (action.choices or ()), [meaning]
        if not equals and has_next and action.nargs != 0:
            count = action.nargs if isinstance(action.nargs, int) else 1
            values = [left.pop(0) for _ in left[:count]]
        self._options.append([name, *values])
        return bool(values) != (action.nargs == 0)

    def _take_output(self, guess: str, value: str) -> bool:
        """Take an output file or its format, in the option of this command for it."""
        known = self.parser._option_string_actions
        endings = (end for end in OUTPUTS[guess] if value.endswith(end))
        option = [part.format(value) for part in OUTPUTS[guess].get(next(endings, ""), ())]
        if "--out" in known and value not in OUTPUTS[guess]:
            option = ["--out", value]
        self._options.append(option)
        return bool(option) and option[0] in known

    def _ordered_places(self) -> list[str]:
        """Return the arguments that are not options: lists are split, and the timeframe is last."""
        own = {action.dest: action for action in self.parser._get_positional_actions()}
        places = self._places
        if "symbols" in own:
            places = [part for word in places for part in word.split(",") if part]
        if {*own} not in _SERIES or not places:
            return places
        if len(places) > 1 and places[-2].isdigit() and (both := _timeframe("".join(places[-2:]))):
            places = [*places[:-2], both]
        # The parser of `verify` needs no timeframe, although the command does.
        needs = own["timeframe"].required or self._command == ["verify"]
        times = sum(map(bool, map(_timeframe, places)))
        if times == 1:
            places.sort(key=lambda word: bool(_timeframe(word)))
        return [*places, "1d"] if needs and (not times or len(places) == 1) else places


def _timeframe(word: str) -> str:
    """Return the label of a timeframe; empty if the word is not one."""
    try:
        return Timeframe.parse(word).label
    except QueryError:
        return ""
