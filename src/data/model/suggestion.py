"""What a word that is not known may have been meant for. Pure."""

from __future__ import annotations

from collections.abc import Iterable


def nearest(word: str, words: Iterable[str], *, cutoff: float = 0.6) -> str:
    """Return the one of ``words`` most like ``word``; empty where none is near.

    Args:
        word: as it was written.
        words: those that are known.
        cutoff: how like it must be, from 0 (anything) to 1 (equal).
    """
    import difflib  # what is spelled right needs none of it

    near = difflib.get_close_matches(word, list(words), n=1, cutoff=cutoff)
    return near[0] if near else ""


def did_you_mean(word: str, words: Iterable[str], *, cutoff: float = 0.6) -> str:
    """Return the question whether the nearest word was meant, with a blank behind it, or nothing."""
    near = nearest(word, words, cutoff=cutoff)
    return f"did you mean {near!r}? " if near else ""
