"""Tests the reading of CSV files from other programs."""

from __future__ import annotations

import random
import struct

import pandas as pd
import pytest

from src.data.core.cache.format.csv_rows import csv_text, read_csv


def test_every_float_survives_a_plain_csv_round_trip() -> None:
    dice = random.Random(7)
    values = [struct.unpack("<d", dice.randbytes(8))[0] for _ in range(2000)]
    finite = [v for v in values if v == v and abs(v) != float("inf")]
    text = "x\n" + "".join(f"{v!r}\n" for v in finite)
    assert read_csv(text.encode())["x"].tolist() == finite


def test_columns_have_the_type_of_their_cells() -> None:
    frame = read_csv(b"a,b,c\n1,1.5,x\n2,,NA\n")
    assert frame["a"].tolist() == [1, 2]
    assert frame["a"].dtype == "int64"
    assert frame["b"].isna().tolist() == [False, True]
    assert frame["c"].tolist() == ["x", "NA"]


@pytest.mark.parametrize("text", [b"", b"\n\n", b"a,b\n1,2,3,4\n5\n6,7,8,9,10\n", b"\xff\xfe\x00"])
def test_a_csv_that_is_not_a_table_is_an_error(text: bytes) -> None:
    with pytest.raises(ValueError):
        read_csv(text)


def test_a_frame_survives_a_plain_csv_round_trip() -> None:
    index = pd.DatetimeIndex(["2025-01-01", "2025-01-01 08:00:00.003"])
    frame = pd.DataFrame({"a": [0.1 + 0.2, None], "b": [3, 4], "c": ['x,"y"', "z"]}, index=index)
    text = csv_text(frame)
    assert text.splitlines()[0] == b"timestamp,a,b,c"
    assert text.splitlines()[2] == b"2025-01-01 08:00:00.003000,,4,z"
    read = read_csv(text)
    assert read["a"][0] == 0.1 + 0.2
    assert read["b"].tolist() == [3, 4]
    assert read["c"].tolist() == ['x,"y"', "z"]
