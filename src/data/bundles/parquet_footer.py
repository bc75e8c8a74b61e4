"""Reads the footer of a Parquet file, which declares the number of its rows and values."""

from __future__ import annotations

from typing import Any, NamedTuple

__all__ = ["ParquetCounts", "declared"]

_MAGIC, _TAIL = b"PAR1", 8
_DEEPEST, _LONGEST_VARINT = 16, 10
# Field numbers that the format assigns in the file's metadata and in its nested structures.
_ROWS, _GROUPS, _COLUMNS, _CHUNK, _VALUES = 3, 4, 1, 3, 5
_TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _STRUCT = 1, 2, 3, 7, 8, 9, 10, 12
_INTEGERS = (4, 5, 6)


class ParquetCounts(NamedTuple):
    """The counts that a Parquet file declares in its footer.

    Attributes:
        rows: Number of rows.
        values: Number of values in all columns, counting each value in a list.
    """

    rows: int
    values: int


def length_of(tail: bytes) -> int:
    """Return the size in bytes of a file's footer, given the last eight bytes of the file.

    Raises:
        ValueError: The file is not a Parquet file.
    """
    if len(tail) < _TAIL or tail[-4:] != _MAGIC:
        raise ValueError("not a Parquet file")
    return int.from_bytes(tail[-_TAIL:-4], "little") + _TAIL


def declared(end: bytes) -> ParquetCounts:
    """Return the counts declared in the footer of a Parquet file.

    Args:
        end: Bytes of the whole file, or at least its last :func:`length_of` bytes.

    Raises:
        ValueError: The footer is invalid.
    """
    size = length_of(end[-_TAIL:])
    if size > len(end):
        raise ValueError("not a Parquet file: its footer is longer than the file")
    try:
        footer = _Compact(end[-size:-_TAIL]).struct(0)
        columns = [column[_CHUNK] for group in footer[_GROUPS] for column in group[_COLUMNS]]
        rows, values = footer[_ROWS], [column[_VALUES] for column in columns]
        if min(rows, *values, 0) < 0:
            raise ValueError("a count is negative")
        return ParquetCounts(rows, sum(values))
    except (LookupError, TypeError) as exc:
        raise ValueError("the footer cannot be parsed") from exc


class _Compact:
    """Reads Thrift's compact encoding; structs become mappings from field number to value."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def _byte(self) -> int:
        self._at += 1
        return self._data[self._at - 1]

    def _varint(self) -> int:
        number = 0
        for position in range(_LONGEST_VARINT):
            byte = self._byte()
            number |= (byte & 0x7F) << 7 * position
            if byte < 0x80:
                return number
        raise ValueError("a number is too long")

    def _integer(self) -> int:
        number = self._varint()
        return (number >> 1) ^ -(number & 1)

    def struct(self, depth: int) -> dict[int, Any]:
        """Return the next struct; raises ``ValueError`` or ``IndexError``."""
        if depth > _DEEPEST:
            raise ValueError("the footer is nested too deeply")
        fields: dict[int, Any] = {}
        number = 0
        while head := self._byte():
            number = number + (head >> 4) if head >> 4 else self._integer()
            fields[number] = self._value(head & 0x0F, depth)
        return fields

    def _value(self, type_code: int, depth: int) -> Any:
        if type_code in (_TRUE, _FALSE):
            return type_code == _TRUE
        if type_code in _INTEGERS:
            return self._integer()
        if type_code == _STRUCT:
            return self.struct(depth + 1)
        if type_code in (_LIST, _SET):
            head = self._byte()
            count = head >> 4 if head >> 4 < 0x0F else self._varint()
            return [self._item(head & 0x0F, depth) for _ in range(count)]
        if type_code not in (_BYTE, _DOUBLE, _BINARY):
            raise ValueError(f"a value has the unknown type {type_code}")
        size = {_BYTE: 1, _DOUBLE: 8}.get(type_code) or self._varint()
        self._at += size
        if self._at > len(self._data):
            raise ValueError("the footer ends too early")
        return None  # the file is not used

    def _item(self, type_code: int, depth: int) -> Any:
        return self._byte() if type_code in (_TRUE, _FALSE) else self._value(type_code, depth)
