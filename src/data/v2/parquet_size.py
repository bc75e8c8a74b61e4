"""The memory that a Parquet file of numbers takes when it is read, before any of it is unpacked.

A few bytes of a compressed or run-length encoded page can stand for gigabytes. The headers say how
many, and Polars allocates what they say.
"""

from __future__ import annotations

from typing import Any

from ..errors import CorruptEntryError

__all__ = ["unpacked_bytes"]

_MAGIC = b"PAR1"
# Types in Thrift's compact protocol.
_TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _STRUCT = 1, 2, 3, 7, 8, 9, 10, 12
_INTEGERS = 4, 5, 6
_LONGEST_BITS = 63
# Types of Parquet whose values have a fixed size, of at most 8 bytes: INT32, INT64, DOUBLE.
_NUMBERS, _VALUE_BYTES = {1, 2, 5}, 8
_MOST_PAGES = 10_000


def unpacked_bytes(data: bytes) -> int:
    """Return an upper bound for the columns of a file, or for its pages if these are larger.

    Args:
        data: The file.

    Raises:
        CorruptEntryError: It is not a Parquet file, or has columns other than integers and floats.
    """
    length = int.from_bytes(data[-8:-4], "little")
    if not data.startswith(_MAGIC) or not data.endswith(_MAGIC) or length > len(data) - 12:
        raise CorruptEntryError("it is not a Parquet file")
    try:
        return _size(data, _struct(data, len(data) - 8 - length)[0])
    except (LookupError, TypeError) as error:
        raise CorruptEntryError("its headers are damaged") from error


def _size(data: bytes, footer: dict[int, Any]) -> int:
    """Return the result of :func:`unpacked_bytes`; fields have the numbers of Parquet's format."""
    columns = [element for element in footer[2] if 1 in element]
    if any(element[1] not in _NUMBERS for element in columns):
        raise CorruptEntryError("it has columns that are not numeric")
    pages = values = in_pages = count = 0
    for chunk in [chunk for group in footer[4] for chunk in group[1]]:
        facts = chunk[3]
        values += _checked_size(facts[5])
        offset = _checked_size(facts.get(11, facts[9]))  # the dictionary comes before the values
        end = offset + _checked_size(facts[7])
        while offset < end:
            header, offset = _struct(data, offset)
            offset += _checked_size(header[3])
            count += 1
            if count > _MOST_PAGES:  # chunks of a crafted file may have the same pages
                raise CorruptEntryError("it has too many pages")
            pages += _checked_size(header[2])
            in_pages += sum(_checked_size(header[kind][1]) for kind in (5, 7, 8) if kind in header)
    rows = max(_checked_size(footer[3]), sum(_checked_size(group[3]) for group in footer[4]))
    return max(pages, _VALUE_BYTES * max(values, in_pages, rows * len(columns)))


def _checked_size(number: int) -> int:
    if number < 0:
        raise CorruptEntryError("its headers have negative sizes")
    return number


def _struct(data: bytes, offset: int) -> tuple[dict[int, Any], int]:
    """Return the structure at an offset, by the number of each field, and the offset after it."""
    # Most numbers have one byte: calls for them would take most of the time.
    fields, number = dict[int, Any](), 0
    while head := data[offset]:
        type_code, offset = head & 15, offset + 1
        if head > 15:
            number += head >> 4
        else:
            number, offset = _integer(data, offset)
        if type_code in _INTEGERS:
            if (byte := data[offset]) > 127:
                fields[number], offset = _integer(data, offset)
            else:
                fields[number], offset = byte >> 1 ^ -(byte & 1), offset + 1
        elif type_code == _STRUCT:
            fields[number], offset = _struct(data, offset)
        elif type_code == _BINARY:
            offset = _skip_text(data, offset)
        elif type_code not in (_TRUE, _FALSE):
            fields[number], offset = _value(data, offset, type_code)
    return fields, offset + 1


def _value(data: bytes, offset: int, type_code: int) -> tuple[Any, int]:
    """Return a value, and the place after it; texts and floats are skipped."""
    if type_code in (_LIST, _SET):
        head, offset, values = data[offset], offset + 1, list[Any]()
        count, offset = (head >> 4, offset) if head < 0xF0 else _varint(data, offset)
        type_code = head & 15
        read = _struct if type_code == _STRUCT else _integer if type_code in _INTEGERS else None
        for _ in range(count):
            if read is not None:
                value, offset = read(data, offset)
                values.append(value)
            elif type_code == _BINARY:
                offset = _skip_text(data, offset)
            else:
                value, offset = _value(data, offset, type_code)
        return values, offset
    if type_code == _DOUBLE:
        return None, offset + _VALUE_BYTES
    if type_code in (_TRUE, _FALSE, _BYTE):
        return data[offset], offset + 1
    raise CorruptEntryError(f"its headers have a value of the unknown type {type_code}")


def _skip_text(data: bytes, offset: int) -> int:
    if (byte := data[offset]) > 127:
        length, offset = _varint(data, offset)
        return offset + length
    return offset + 1 + byte


def _varint(data: bytes, offset: int) -> tuple[int, int]:
    value = bits = 0
    while (byte := data[offset]) > 127:
        value |= (byte & 127) << bits
        bits, offset = bits + 7, offset + 1
        if bits > _LONGEST_BITS:
            raise CorruptEntryError("its headers have a number of too many digits")
    return value | byte << bits, offset + 1


def _integer(data: bytes, offset: int) -> tuple[int, int]:
    number, offset = _varint(data, offset)
    return number >> 1 ^ -(number & 1), offset
