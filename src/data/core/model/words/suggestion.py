"""Suggests the known word that the user probably meant when writing an unknown one. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from ....errors import QueryError

# Longer words are not compared: they would match nothing, and comparing takes seconds.
_LONGEST = 200


def nearest(word: str, words: Iterable[str], *, cutoff: float = 0.6) -> str:
    """Return the word among ``words`` that is most similar to ``word``; empty if no word is similar enough.

    Args:
        word: Word as written.
        words: Known words.
        cutoff: Required similarity, from 0 (anything) to 1 (equal).
    """
    if len(word) > _LONGEST:
        return ""
    import difflib  # imported here because names spelled correctly do not need it

    near = difflib.get_close_matches(word, list(words), n=1, cutoff=cutoff)
    return near[0] if near else ""


def did_you_mean(word: str, words: Iterable[str], *, cutoff: float = 0.6) -> str:
    """Return a "did you mean" question with the nearest word, or an empty string.

    The question ends with a space.
    """
    near = nearest(word, words, cutoff=cutoff)
    return f"did you mean {near!r}? " if near else ""


def check_names(names: Iterable[object], allowed: Collection[str], what: str) -> None:
    """Reject unknown names.

    Args:
        names: Names as written.
        allowed: Known names, in the order in which they are listed.
        what: Subject of the error message, i.e. the thing that has the names, such as ``an alert``.

    Raises:
        QueryError: A name is unknown; the message gives the nearest allowed name, and all allowed
            names.
    """
    for name in names:
        if name not in allowed:
            hint = f"{did_you_mean(str(name), allowed)}known: {', '.join(allowed)}"
            raise QueryError(f"{what} has no {name!r:.80}", hint=hint)
