"""The word that was probably meant by an unknown one. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from ..errors import QueryError

# Words that are much longer than any known one are like none, which would take seconds to find out.
_LONGEST = 200


def nearest(word: str, words: Iterable[str], *, cutoff: float = 0.6) -> str:
    """Return the one of ``words`` most like ``word``; empty where none is near.

    Args:
        word: as it was written.
        words: those that are known.
        cutoff: how like it must be, from 0 (anything) to 1 (equal).
    """
    if len(word) > _LONGEST:
        return ""
    import difflib  # what is spelled right needs none of it

    near = difflib.get_close_matches(word, list(words), n=1, cutoff=cutoff)
    return near[0] if near else ""


def did_you_mean(word: str, words: Iterable[str], *, cutoff: float = 0.6) -> str:
    """Return the question whether the nearest word was meant, with a blank behind it, or nothing."""
    near = nearest(word, words, cutoff=cutoff)
    return f"did you mean {near!r}? " if near else ""


def check_names(names: Iterable[object], known: Collection[str], what: str) -> None:
    """Refuse names that are not known.

    Args:
        names: as they were written.
        known: those that there are, in the order in which they are told.
        what: what has these names, such as ``an alert``.

    Raises:
        QueryError: one is not known; it tells the nearest one, and all.
    """
    for name in names:
        if name not in known:
            hint = f"{did_you_mean(str(name), known)}known: {', '.join(known)}"
            raise QueryError(f"{what} has no {name!r:.80}", hint=hint)
