"""HDF5 files from pandas and Zipline read as bars; hostile or damaged ones are refused and run nothing."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import polars as pl
import pytest

from src.data.core.disk.files import Disk, DiskStep
from src.data.errors import BundleError
from src.data.research.bundles.hdf5 import plain_value, read_hdf5
from tests.core.cache.counts import some
from tests.research.bundles.hdf5_samples import FIELDS, WHY, bars, long, write, zipline

h5py = pytest.importorskip("h5py", reason=WHY)
pytest.importorskip("tables", reason=WHY)
T = TypeVar("T")


def rows(path: Path) -> pl.DataFrame:
    """Return all bars in a file."""
    frames = [one.rows for one in read_hdf5(path).frames]
    first = [frames[0].columns[0], "symbol", *FIELDS]
    whole = pl.concat(frames, how="diagonal")
    return whole.select(*first, pl.exclude(first)).sort("symbol", first[0])


def expected(frame: pd.DataFrame, symbol: str) -> list[tuple[Any, ...]]:
    index = frame.index if frame.index.tz is None else frame.index.tz_localize(None)
    return [
        (at.date(), symbol, *row) for at, row in zip(index, frame.to_numpy().tolist(), strict=True)
    ]


@pytest.mark.parametrize("options", [
    {"format": "fixed"}, {"format": "table"}, {"format": "table", "data_columns": True},
    {"format": "table", "data_columns": ["close"]},
], ids=str)  # fmt: skip
@pytest.mark.parametrize("tz", [None, "UTC", "America/New_York", "Asia/Tokyo"])
def test_a_pandas_frame_becomes_bars_with_the_dates_of_its_time_zone(
    tmp_path: Path, options: dict[str, Any], tz: str | None
) -> None:
    frame = bars(tz=tz)
    path = write(tmp_path / "x.h5", {"AAPL": frame, "us/MSFT": frame + 1}, **options)
    assert rows(path).rows() == expected(frame, "AAPL") + expected(frame + 1, "MSFT")


@pytest.mark.parametrize("shape", ["columns", "levels", "levels fixed"])
def test_symbols_are_read_from_a_column_or_an_index_level(tmp_path: Path, shape: str) -> None:
    frame = long("AAPL", "aapl")
    if shape != "columns":
        frame = frame.set_index(["date", "symbol"])
    style = "fixed" if "fixed" in shape else "table"
    found = rows(write(tmp_path / "x.h5", {"df": frame}, format=style))
    assert found.rows() == [
        *expected(bars(first=10.0), "AAPL"), *expected(bars(first=20.0), "aapl"),
    ]  # fmt: skip


def test_a_frame_with_a_common_key_is_named_after_its_file(tmp_path: Path) -> None:
    assert set(rows(write(tmp_path / "BRK.B.h5", {"df": bars()}))["symbol"]) == {"BRK.B"}
    two = write(tmp_path / "two.h5", {"df": bars(), "X": bars()})
    assert set(rows(two)["symbol"]) == {"two", "X"}


@pytest.mark.filterwarnings("ignore:object name is not a valid:tables.NaturalNameWarning")
@pytest.mark.parametrize("words", [
    "/daily", "/1d", "/60min", "/OHLCV", "/bars/table", "/prices/Daily",
])  # fmt: skip
def test_a_key_that_ends_with_a_word_is_named_after_the_part_before(
    tmp_path: Path, words: str
) -> None:
    keys = {f"us/{name}{words}": bars(first=first) for name, first in (("AAPL", 10), ("MSFT", 20))}
    found = rows(write(tmp_path / "x.h5", keys))
    assert found["symbol"].to_list() == 5 * ["AAPL"] + 5 * ["MSFT"]
    assert found["low"][0] == 10 and found["low"][-1] == 20.04


@pytest.mark.parametrize("style", ["fixed", "table"])
def test_minutes_are_in_utc_and_other_columns_stay(tmp_path: Path, style: str) -> None:
    frame = bars(3, freq="min", tz="America/New_York").assign(vwap=[1.5, 2.5, 3.5])
    frame.index = frame.index + pd.Timedelta(hours=9, minutes=30)
    found = rows(write(tmp_path / "x.h5", {"AAPL": frame.rename(columns=str.title)}, format=style))
    assert found.columns == ["timestamp", "symbol", *FIELDS, "Vwap"]
    assert str(found["timestamp"][0]) == "2024-01-02 14:30:00"
    assert found["Vwap"].to_list() == [1.5, 2.5, 3.5]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("style", ["fixed", "table"])
def test_times_in_every_unit_are_read(tmp_path: Path, unit: str, style: str) -> None:
    frame = bars(3, freq="min")
    frame.index = frame.index.as_unit(unit)
    found = rows(write(tmp_path / "x.h5", {"AAPL": frame}, format=style))
    assert found["timestamp"].cast(pl.String).str.slice(11, 5).to_list() == [
        "00:00",
        "00:01",
        "00:02",
    ]


@pytest.mark.parametrize("library", ["zlib", "bzip2", "blosc", "blosc:zstd"])
def test_files_with_every_compression_of_pandas_are_read(tmp_path: Path, library: str) -> None:
    pytest.importorskip("hdf5plugin", reason=WHY)
    frame = bars(2000, freq="min")
    path = write(tmp_path / "x.h5", {"A": frame}, format="table", complib=library, complevel=5)
    assert rows(path)["close"].to_list() == frame["close"].to_list()


def test_bars_of_zipline_are_the_decimals_that_were_written(tmp_path: Path) -> None:
    prices = np.array([[12345, 0, 100], [0, 9, 8], [0, 0, 0]])
    frame = read_hdf5(zipline(tmp_path / "x.h5", prices, [24, 3, 9])).frames[0].rows
    assert frame.columns == ["date", "sid", *FIELDS]
    assert [(str(row[0]), row[1], row[5], row[6]) for row in frame.rows()] == [
        ("2024-01-02", 24, 12.345, 12345), ("2024-01-04", 24, 0.1, 100),
        ("2024-01-03", 3, 0.009, 9), ("2024-01-04", 3, 0.008, 8),
    ]  # fmt: skip


def test_the_currencies_of_zipline_become_a_column(tmp_path: Path) -> None:
    path = zipline(tmp_path / "x.h5", np.ones((2, 2)), [24, 3])
    with h5py.File(path, "a") as file:
        file["US/currency/code"][...] = np.array([b"USD", b"EUR"])
    assert read_hdf5(path).frames[0].rows["currency"].to_list() == ["USD", "USD", "EUR", "EUR"]


@pytest.mark.parametrize("odd", [{"version": 1}, {"scale": 0}, {"scale": np.nan}])
def test_an_unknown_version_or_scale_of_zipline_is_refused(
    tmp_path: Path, odd: dict[str, Any]
) -> None:
    with pytest.raises(BundleError, match=r"version 1|scaling_factor"):
        read_hdf5(zipline(tmp_path / "x.h5", np.ones((1, 2)), [1], **odd))


def test_nodes_without_bars_are_listed(tmp_path: Path) -> None:
    path = write(tmp_path / "x.h5", {"A": bars(), "splits": bars()[["close"]]})
    bars()["close"].to_hdf(path, key="lone")
    with h5py.File(path, "a") as file:
        file["notes/raw"] = np.arange(3)
        file["notes/again"] = file["notes"]  # a group that contains itself
        file["notes/whole"] = file["/"]
    found = read_hdf5(path)
    assert [one.key for one in found.frames] == ["/A"]
    assert found.skipped == {
        "/splits": "has no column for open, high, low", "/lone": "is a series of pandas, not a frame",
        "/notes/raw": "is not in a layout of pandas or Zipline",
    }  # fmt: skip


# --- hostile files -----------------------------------------------------------------------------


class RunsMkdir:
    """What runs a command where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("place", [
    "A/axis1:tz", "A/block0_items:x", "T:info", "T/table:values_block_0_kind", "T:values_cols",
])  # fmt: skip
def test_a_pickle_in_an_attribute_is_never_run(tmp_path: Path, place: str) -> None:
    path, mark = tmp_path / "x.h5", tmp_path / "ran"
    write(path, {"A": bars()}, format="fixed")
    write(path, {"T": bars()}, format="table")
    name, _, attribute = place.partition(":")
    with h5py.File(path, "a") as file:
        file[name].attrs[attribute] = np.bytes_(pickle.dumps(RunsMkdir(mark), 0))
    with suppress(BundleError):
        read_hdf5(path)
    assert not mark.exists()
    if place == "T:info":  # the file is really dangerous
        with suppress(TypeError, AttributeError):
            pd.read_hdf(path, "T")
        assert mark.exists()


def test_pickled_columns_are_refused_before_any_value_is_read(tmp_path: Path) -> None:
    frame = bars().assign(note=[RunsMkdir(tmp_path / "ran"), *"abcd"])
    path = write(tmp_path / "x.h5", {"A": bars()})
    with pytest.warns(pd.errors.PerformanceWarning):
        write(path, {"B": frame})
    with pytest.raises(BundleError, match="pickled Python objects, which could run any code"):
        read_hdf5(path)
    assert not (tmp_path / "ran").exists()


def _external(file: Any, other: Path) -> None:
    file["link"] = h5py.ExternalLink(str(other), "/A")


def _soft(file: Any, other: Path) -> None:
    file["link"] = h5py.SoftLink("/A")


def _outside(file: Any, other: Path) -> None:
    file["A"].move("block0_values", "old")
    file["A"].create_dataset(
        "block0_values", (5, 4), "f8", external=[(str(other), 0, h5py.h5f.UNLIMITED)]
    )


def _virtual(file: Any, other: Path) -> None:
    layout = h5py.VirtualLayout((5, 4), "f8")
    layout[:] = h5py.VirtualSource(str(other), "A/block0_values", (5, 4))
    file["A"].move("block0_values", "old")
    file["A"].create_virtual_dataset("block0_values", layout)


@pytest.mark.parametrize("change, said", [
    (_external, "is a link"), (_soft, "is a link"), (_outside, "other files"), (_virtual, "other files"),
])  # fmt: skip
def test_links_out_of_the_file_are_refused(
    tmp_path: Path, change: Callable[[Any, Path], None], said: str
) -> None:
    path = write(tmp_path / "x.h5", {"A": bars()})
    other = write(tmp_path / "other.h5", {"A": bars()})
    with h5py.File(path, "a") as file:
        change(file, other)
    with pytest.raises(BundleError, match=said):
        read_hdf5(path)


@pytest.mark.parametrize("options", [
    {"shape": (10**9, 4)}, {"shape": (10**9, 4), "compression": "gzip"},
    {"shape": (5, 4), "chunks": (5 * 10**8, 4), "maxshape": (None, 4)},
], ids=["never written", "compressed", "one huge chunk"])  # fmt: skip
def test_an_hdf5_file_that_declares_more_values_than_fit_in_the_file_is_refused(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    path = write(tmp_path / "x.h5", {"A": bars()})
    with h5py.File(path, "a") as file:
        del file["A/block0_values"]
        file["A"].create_dataset(
            "block0_values", dtype="u1" if "chunks" in options else "f8", **options
        )
    with pytest.raises(BundleError, match=r"declares values of [\d,]{10,} bytes, .* in a file of"):
        read_hdf5(path)


def test_a_compressed_bomb_is_refused_by_its_size(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file.attrs["version"] = 0
        file.create_dataset(
            "US/index/sid", data=np.zeros(40_000_000, "i8"), compression="gzip", chunks=(10**6,)
        )
        file["US/data/close"] = 1
    assert path.stat().st_size < 2_000_000
    with pytest.raises(BundleError, match="declares values of 320,000,008 bytes"):
        read_hdf5(path)


def test_a_bomb_of_frames_that_share_their_values_is_refused(tmp_path: Path) -> None:
    """Each frame is small enough, but one dataset has a thousand names."""
    rows, path = 100_000, tmp_path / "bomb.h5"
    with h5py.File(path, "w") as file:
        first = file.create_group("A0")
        index = first.create_dataset("axis1", data=np.arange(rows) * 60_000_000_000)
        index.attrs["kind"], index.attrs["name"] = np.bytes_("datetime64"), np.bytes_("date")
        first["block0_items"] = np.array([b"open", b"high", b"low", b"close", b"volume"])
        first.create_dataset("block0_values", data=np.ones((rows, 5)), compression="gzip")
        for number in range(1000):
            group = first if not number else file.create_group(f"A{number}")
            group.attrs["pandas_type"] = np.bytes_("frame")
            for name in first if number else ():
                group[name] = first[name]
    with pytest.raises(
        BundleError, match=r"block0_values declares values of [\d,]+ bytes, with those before it"
    ):
        read_hdf5(path)


def test_the_error_for_a_missing_hdf5_filter_names_it(tmp_path: Path) -> None:
    path = write(tmp_path / "x.h5", {"A": bars(2000)}, format="table", complib="zlib", complevel=5)
    content = path.read_bytes()
    with h5py.File(path) as file:
        assert file["A/table"].compression == "gzip"
    # Filter 1 (deflate) of the table becomes filter 305, LZO, for which there is no decoder.
    at = content.index(b"deflate") - 8
    path.write_bytes(content[:at] + (305).to_bytes(2, "little") + content[at + 2 :])
    with pytest.raises(BundleError, match=r"unknown HDF5 filter 305"):
        read_hdf5(path)


def test_groups_of_any_depth_are_searched(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        group = file
        for _ in range(5_000):
            group = group.create_group("g")
        group["x"] = 1
    assert [*read_hdf5(path).skipped.values()] == ["is not in a layout of pandas or Zipline"]


def test_an_attribute_that_is_an_array_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thousands of elements may share one large text."""
    path, read = write(tmp_path / "x.h5", {"A": bars()}), h5py.AttributeManager.__getitem__
    with h5py.File(path, "a") as file:
        file["A"].attrs["pandas_type"] = np.array(["frame"], dtype=h5py.string_dtype())

    def of_one_value(attributes: Any, name: str) -> Any:
        """Read an attribute, which must not be an array."""
        assert attributes.get_id(name).shape == ()
        return read(attributes, name)

    monkeypatch.setattr(h5py.AttributeManager, "__getitem__", of_one_value)
    assert read_hdf5(path).frames == ()


def test_a_pickle_that_takes_for_ever_to_hash_is_read_at_once() -> None:
    """Each tuple contains the one before it twice."""
    doubled = b"".join(b"(g%d\ng%d\ntp%d\n" % (n, n, n + 1) for n in range(60))
    assert plain_value(b"(dp99\n((tp0\n" + doubled + b"tI1\ns.") == {}


# --- damaged and unusual files -----------------------------------------------------------------


def test_an_hdf5_file_truncated_at_any_byte_raises_a_bundle_error(tmp_path: Path) -> None:
    content = write(tmp_path / "x.h5", {"A": bars(), "B": bars()}, format="table").read_bytes()
    for size in some(range(len(content)), 60):
        (tmp_path / "cut.h5").write_bytes(content[:size])
        with pytest.raises(BundleError, match=r"cut\.h5 cannot be read as HDF5"):
            read_hdf5(tmp_path / "cut.h5")


@pytest.mark.skipif(os.name == "nt", reason="no named pipes there")
def test_a_pipe_or_missing_file_is_refused_without_hanging(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.h5")
    with pytest.raises(BundleError, match="is not a file"):
        read_hdf5(tmp_path / "x.h5")
    with pytest.raises(BundleError, match="does not exist"):
        read_hdf5(tmp_path / "none.h5")


def test_a_file_that_another_program_is_writing_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "x.h5", {"A": bars()})
    program = (
        "import h5py, sys; f = h5py.File(sys.argv[1], 'a'); print(flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdout is not None and writer.stdout.readline() == b"\n"
        with pytest.raises(BundleError, match="open for writing in another program"):
            read_hdf5(path)
        writer.communicate()
    assert len(rows(path)) == 5


class ChangingDisk(Disk):
    """A disk that appends a byte to each file after its state was read."""

    def perform(self, step: DiskStep, call: Callable[[], T]) -> T:
        state = call()
        with open(step.path, "ab") as file:
            file.write(b"\0")
        return state


def test_a_file_that_changes_while_it_is_read_is_not_used(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="was changed while it was read"):
        read_hdf5(write(tmp_path / "x.h5", {"A": bars()}), ChangingDisk())


def test_times_that_cannot_be_stored_are_refused(tmp_path: Path) -> None:
    early = write(tmp_path / "x.h5", {"A": bars()})
    with h5py.File(early, "a") as file:
        file["A/axis1"][0] = -(2**63) + 1
        file["A/axis1"].attrs["kind"] = np.bytes_(b"datetime64[s]")
    with pytest.raises(BundleError, match="before 1680"):
        read_hdf5(early)
    with pytest.raises(BundleError, match="time zone without a name"):
        read_hdf5(write(tmp_path / "y.h5", {"A": bars(tz="+05:30")}))


def test_the_same_column_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="two columns for close"):
        read_hdf5(write(tmp_path / "x.h5", {"A": bars().assign(Close=1.0)}))


def test_numbers_that_no_bundle_has_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="type complex128 is not supported"):
        read_hdf5(write(tmp_path / "x.h5", {"A": bars().assign(note=1j)}))
    long_bars = long("A", "B").astype({"symbol": "category"})
    with pytest.raises(BundleError, match="has the categorical column"):
        read_hdf5(write(tmp_path / "y.h5", {"A": long_bars}, format="table"))


@pytest.mark.parametrize("value", [
    None, "x", 3, -2.5, 2**70, ["a", "b"], ("a", (1, None)), {"a": {"b": ["c"]}, "d": ()},
])  # fmt: skip
def test_plain_values_are_read_from_pickles(value: Any) -> None:
    assert plain_value(pickle.dumps(value, 0)) == value


@pytest.mark.parametrize("data", [
    b"", b"N", b"(lp0\n", b"s.", b"0.", b"cos\nsystem\n(S'x'\ntR", pickle.dumps(["a"], 4), b"\xff.",
])  # fmt: skip
def test_other_pickles_are_errors(data: bytes) -> None:
    with pytest.raises((ValueError, LookupError, TypeError, AttributeError)):
        plain_value(data)


def test_a_call_in_a_pickle_is_returned_as_a_tuple_and_not_run(tmp_path: Path) -> None:
    found = plain_value(pickle.dumps(RunsMkdir(tmp_path / "ran"), 0))
    assert found[0].endswith("mkdir") and found[1] == (str(tmp_path / "ran"),)
    assert not (tmp_path / "ran").exists()
