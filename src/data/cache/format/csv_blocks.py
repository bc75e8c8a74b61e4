"""Rows as text, whole blocks at a time: the same bytes as Python's ``repr``, much sooner.

Nearly all prices and volumes have few decimals. Such a number is a whole one over a power of ten;
where that quotient is the number itself and has at most 15 digits, no shorter text reads back to
it, so its digits are what ``repr`` writes. Rows with another number are left to ``repr``, and
blocks with many of them too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...model.bars import Floats, Stamps
from ...model.instant import DAY_MS

_MOST_DECIMALS = 10
# ``repr`` turns to exponents below and above.
_LEAST, _MOST = 1e-4, 1e15
# Beyond this share of a block the others are not worth the trouble.
_FEW = 1 / 16
_STAMP_WIDTH = 19
_ZERO, _DOT, _MINUS, _COMMA, _LINE, _COLON = b"0.-,\n:"
Chars = NDArray[np.uint8]
Mask = NDArray[np.bool_]


class _Field(NamedTuple):
    """Characters of one column, a row each, which of them count, and rows that it cannot write."""

    chars: Chars
    mask: Mask
    odd: Mask


def block_text(
    stamps: Stamps, columns: Sequence[Floats | None], lines_of: Callable[[Mask], bytes]
) -> bytes | None:
    """Return the rows as lines, or None where too many numbers are not of few decimals.

    Args:
        stamps: milliseconds of full seconds in the years 1000 to 9999.
        columns: the values of each column, none infinite; None for one that is empty.
        lines_of: gives the whole lines of the other rows.
    """
    rows = len(stamps)
    chars, masks = [_times(stamps)], [np.ones((rows, _STAMP_WIDTH), dtype=bool)]
    odd = np.zeros(rows, dtype=bool)
    for values in columns:
        _add_sign(chars, masks, _COMMA)
        if values is None:
            continue
        field = _field(values)
        if field is None:
            return None
        chars.append(field.chars)
        masks.append(field.mask)
        odd |= field.odd
    _add_sign(chars, masks, _LINE)
    mask = np.hstack(masks)
    text: bytes = np.hstack(chars)[mask].tobytes()
    return _replaced(text, mask, odd, lines_of(odd)) if odd.any() else text


def _add_sign(chars: list[Chars], masks: list[Mask], sign: int) -> None:
    rows = len(chars[0])
    chars.append(np.full((rows, 1), sign, np.uint8))
    masks.append(np.ones((rows, 1), dtype=bool))


def _replaced(text: bytes, mask: Mask, odd: Mask, lines: bytes) -> bytes:
    """Return the text with the lines of the odd rows in their places."""
    ends = np.cumsum(mask.sum(axis=1))
    parts, done = [], 0
    for row, line in zip(np.flatnonzero(odd).tolist(), lines.splitlines(True), strict=True):
        parts += [text[done : int(ends[row - 1]) if row else 0], line]
        done = int(ends[row])
    return b"".join([*parts, text[done:]])


def _field(values: Floats) -> _Field | None:
    absent = np.isnan(values)
    sizes = np.where(absent, 1.0, np.abs(values))
    odd = (sizes < _LEAST) & ((sizes != 0) | np.signbit(values)) | (sizes >= _MOST)
    sizes[odd] = 1.0
    decimals = _decimals(sizes)
    if decimals is None:
        return None
    whole = np.rint(sizes * 10.0**decimals)
    odd |= whole / 10.0**decimals != sizes
    if np.count_nonzero(odd) > _FEW * len(values):
        return None
    front, behind = np.divmod(whole.astype(np.int64), 10**decimals)
    width, places = len(str(int(front.max(initial=0)))), max(decimals, 1)
    chars = np.empty((len(values), 1 + width + 1 + places), np.uint8)
    mask = np.ones(chars.shape, dtype=bool)
    head, tail = slice(1, 1 + width), slice(2 + width, None)
    chars[:, 0], mask[:, 0] = _MINUS, values < 0
    chars[:, 1 + width] = _DOT
    chars[:, head], chars[:, tail] = _digits(front, width), _digits(behind, places)
    _drop_zeros(chars[:, head], mask[:, head])
    _drop_zeros(chars[:, tail][:, ::-1], mask[:, tail][:, ::-1])
    mask[absent] = False
    return _Field(chars, mask, odd)


def _drop_zeros(digits: Chars, mask: Mask) -> None:
    """Leave out the zeros that come first, but for the last digit; changes ``mask``."""
    for place in range(digits.shape[1] - 1):
        np.not_equal(digits[:, place], _ZERO, out=mask[:, place])
        if place:
            mask[:, place] |= mask[:, place - 1]


def _decimals(sizes: Floats) -> int | None:
    """Return how many decimals nearly all these numbers can be written with, or None."""
    few = _FEW * len(sizes)
    best = None
    for decimals in range(_MOST_DECIMALS + 1):
        scale = 10.0**decimals
        whole = np.rint(sizes * scale)
        if whole.max(initial=0.0) >= _MOST:
            break
        others = np.count_nonzero(whole / scale != sizes)
        if not others:
            return decimals
        best = decimals if best is None and others <= few else best
    return best


def _digits(numbers: NDArray[np.int64], width: int) -> Chars:
    """Return the decimal digits of each number, with zeros in front."""
    digits = np.empty((len(numbers), width), np.uint8)
    for place in range(width - 1, -1, -1):
        rest = numbers // 10
        digits[:, place] = numbers - rest * 10 + _ZERO
        numbers = rest
    return digits


def _times(stamps: Stamps) -> Chars:
    """Return ``YYYY-MM-DD HH:MM:SS`` of each stamp, a row each."""
    days, left = np.divmod(stamps, DAY_MS)
    known, places = np.unique(days, return_inverse=True)
    dates = np.datetime_as_string(known.astype("M8[D]")).astype("S10")
    chars = np.empty((len(stamps), _STAMP_WIDTH), np.uint8)
    chars[:, :10] = dates.view(np.uint8).reshape(-1, 10)[places]
    chars[:, 10] = b" "[0]
    chars[:, [13, 16]] = _COLON
    seconds = left // 1000
    for place, part in ((11, seconds // 3600), (14, seconds // 60 % 60), (17, seconds % 60)):
        chars[:, place : place + 2] = _digits(part, 2)
    return chars
