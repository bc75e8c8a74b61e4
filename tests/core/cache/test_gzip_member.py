"""Tests the gzip members of a year file: their bytes, their metadata, and the detection of every change."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import struct
import subprocess
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

from src.data.core.cache.format import gzip_member as module
from src.data.core.cache.format import json_document
from src.data.core.cache.format.gzip_member import (
    MOST_JSON,
    MOST_ROW_BYTES,
    Header,
    build,
    file_id,
    find,
    is_ours,
    verify,
    walk,
)
from src.data.core.cache.store import Commit
from src.data.core.model.identity.series import SeriesKey
from src.data.core.model.time.span import Span
from src.data.core.model.time.timeframe import Timeframe
from src.data.errors import CorruptEntryError, FormatVersionError
from tests.core.cache.bars import BASIS, DAILY, KIND, lane_folder, piece, store_in

HEADER = Header(
    id="0123456789abcdef", seq=3, rows=2, first=1000, last=2000, span=Span(0, 9000),
    vendor="acme", fetched_at=77, kind=KIND, basis=BASIS, state="final",
    holes=(Span(4000, 5000),), prev="f" * 16,
)  # fmt: skip
TEXT = b"a,1\nb,2\n"


def test_a_gzip_member_has_the_documented_bytes() -> None:
    raw = build(HEADER, TEXT).raw
    magic, extra, subfield, field, size = struct.unpack_from("<10sH2sHI", raw)
    assert magic == bytes.fromhex("1f8b0804 00000000 00ff")
    assert (subfield, extra, size) == (b"OT", field + 4, len(raw))
    assert raw[20:52] == hashlib.sha256(raw[:20] + bytes(32) + raw[52:]).digest()
    assert json.loads(raw[52 : 16 + field]) == {
        "v": 1, "id": "0123456789abcdef", "seq": 3, "prev": "f" * 16, "rows": 2, "first": 1000,
        "last": 2000, "span": [0, 9000], "vendor": "acme", "fetched_at": 77,
        "kind": KIND.to_json(), "basis": {"adjustment": "split"}, "state": "final",
        "holes": [[4000, 5000]],
    }  # fmt: skip
    assert gzip.decompress(raw) == TEXT
    assert build(HEADER, TEXT).raw == raw


def test_a_gzip_member_is_read_back() -> None:
    member = verify(b"xx" + build(HEADER, TEXT).raw + b"yy", 2)
    assert member is not None
    assert (member.header, member.text()) == (HEADER, TEXT)


def test_a_member_with_any_bit_flipped_or_cut_off_is_rejected() -> None:
    raw = build(HEADER, TEXT).raw
    for at in range(len(raw)):
        for bit in range(8):
            assert verify(raw[:at] + bytes([raw[at] ^ (1 << bit)]) + raw[at + 1 :]) is None
    for size in range(len(raw)):
        assert verify(raw[:size]) is None


@pytest.mark.parametrize(
    "facts",
    [{"rows": 0, "last": None}, {"rows": 0, "first": None}, {"first": -1}, {"last": 9000},
     {"first": None}, {"rows": "2"}, {"rows": 1 << 48}, {"rows": -(1 << 48)},
     {"fetched_at": 1 << 48}, {"fetched_at": 7.5}],
    ids=str,
)  # fmt: skip
def test_a_gzip_member_with_impossible_facts_is_refused(facts: dict[str, Any]) -> None:
    assert verify(build(replace(HEADER, **facts), TEXT).raw) is None


@pytest.mark.parametrize(
    "facts", [{"rows": 0, "first": None, "last": None}, {"fetched_at": (1 << 48) - 1}], ids=str
)
def test_a_gzip_member_at_the_limits_is_accepted(facts: dict[str, Any]) -> None:
    member = verify(build(header := replace(HEADER, **facts), TEXT).raw)
    assert member is not None
    assert member.header == header


@pytest.mark.parametrize(
    ("facts", "said"),
    [({"v": 2}, "format 2"), ({"need": ["wings"]}, "wings"), ({"state": "hallowed"}, "hallowed"),
     ({"basis": {"adjustment": "odd"}}, "odd")],
    ids=str,
)  # fmt: skip
def test_a_gzip_member_of_a_newer_version_is_not_reported_as_corrupt(
    facts: dict[str, Any], said: str
) -> None:
    raw = build(replace(HEADER, extra=facts), TEXT).raw
    with pytest.raises(FormatVersionError, match=said):
        verify(raw)


def test_a_text_longer_than_its_rows_allow_is_refused() -> None:
    header = replace(HEADER, rows=0, first=None, last=None)
    most = b"x" * MOST_ROW_BYTES
    assert build(header, most).text() == most
    with pytest.raises(ValueError, match="inflate to more than 512 bytes"):
        build(header, most + b"x").text()


@pytest.mark.parametrize("more", [-1, 1])
def test_a_member_whose_text_has_another_length_is_rejected(more: int) -> None:
    member = build(HEADER, TEXT)
    claims = struct.pack("<I", len(TEXT) + more)
    with pytest.raises(ValueError, match="does not decompress to the expected"):
        replace(member, raw=member.raw[:-4] + claims).text()


def test_a_member_whose_compressed_text_is_cut_off_is_rejected() -> None:
    member = build(HEADER, TEXT)
    with pytest.raises(ValueError, match="does not decompress to the expected"):
        replace(member, raw=member.raw[:-9] + member.raw[-8:]).text()


def test_the_file_id_is_a_hash_of_the_series_and_the_year() -> None:
    key = SeriesKey("BTCUSDT", Timeframe(1, "M"), ("raw", "x"))
    assert file_id(key, 2024) == hashlib.sha256(b"BTCUSDT|1M|raw@x|2024").hexdigest()[:16]


def test_a_header_longer_than_the_limit_is_refused() -> None:
    with pytest.raises(ValueError, match="4096 are allowed"):
        build(replace(HEADER, vendor="v" * 5000), TEXT)


def test_a_header_of_exactly_the_limit_is_accepted() -> None:
    longest = "v" * (MOST_JSON - len(json.dumps(replace(HEADER, vendor="").to_json(),
                                                separators=(",", ":"))))  # fmt: skip
    member = build(replace(HEADER, vendor=longest), TEXT)
    assert verify(member.raw) == member
    with pytest.raises(ValueError, match="4097 bytes"):
        build(replace(HEADER, vendor=longest + "v"), TEXT)


@pytest.mark.parametrize("plain", [{}, {"v": 1, "state": "final"}, [], 7], ids=str)
def test_a_member_whose_header_lacks_required_keys_is_rejected(plain: object) -> None:
    member = build(HEADER, TEXT)
    lying: Any = SimpleNamespace(to_json=lambda: plain)
    assert verify(member.with_header(lying).raw) is None


@pytest.mark.parametrize("at", [0, 3, 10, 12, None])
def test_a_member_with_a_right_digest_and_a_wrong_signature_is_rejected(at: int | None) -> None:
    raw = bytearray(build(HEADER, TEXT).raw)
    if at is not None:
        raw[at] ^= 1
    raw[20:52] = hashlib.sha256(bytes(raw[:20]) + bytes(32) + bytes(raw[52:])).digest()
    assert (verify(bytes(raw)) is None) is (at is not None)


def test_a_member_with_a_header_longer_than_the_limit_is_rejected(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MOST_JSON", MOST_JSON + 1)
    bare = len(json.dumps(replace(HEADER, vendor="").to_json(), separators=(",", ":")))
    longer = build(replace(HEADER, vendor="v" * (MOST_JSON + 1 - bare)), TEXT)
    assert verify(longer.raw) == longer
    monkeypatch.undo()
    assert verify(longer.raw) is None


def test_the_member_after_one_with_an_impossible_size_is_found() -> None:
    first, second = build(HEADER, TEXT), build(replace(HEADER, seq=4), TEXT)
    data = first.raw[:16] + b"\xff" * 4 + first.raw[20:] + second.raw
    assert find(data, 0) == (len(first.raw), second)


# Number of false members before the real one, and whether the real one is found.
@pytest.mark.parametrize(("lures", "is_found"), [(3, True), (40, False)])
def test_the_search_in_a_file_built_to_be_slow_is_given_up(lures: int, is_found: bool) -> None:
    member = build(HEADER, TEXT)
    head, size = member.raw[:16], lures * 60 + len(member.raw)
    # Each claims all that is left of the file.
    data = b"".join(
        head + struct.pack("<I", size - n * 60) + bytes(40) for n in range(lures)
    ) + member.raw  # fmt: skip
    assert find(data, 0) == ((lures * 60, member) if is_found else None)


def test_a_walk_over_members_stops_at_the_end_of_their_chain() -> None:
    first = build(replace(HEADER, prev=None), TEXT)
    second = build(replace(HEADER, prev=first.digest[:16]), TEXT)
    stranger = build(replace(HEADER, prev=second.digest[:16], id="e" * 16), TEXT)
    data = first.raw + second.raw + stranger.raw
    assert [at for at, _ in walk(data, HEADER.id)] == [0, len(first.raw)]
    assert list(walk(second.raw, HEADER.id)) == []
    assert [m for _, m in walk(first.raw + first.raw, HEADER.id)] == [first]


def test_our_year_files_are_distinguished_from_other_gzip_files() -> None:
    raw = build(HEADER, TEXT).raw
    assert is_ours(raw)
    assert is_ours(b"garbage" + raw[:20])
    assert is_ours(raw[:30] + b"\x00" + raw[31:])
    assert is_ours(b"OT" + raw)
    assert not is_ours(gzip.compress(b"timestamp,open\n" * 50))
    assert not is_ours(b"")
    assert not is_ours(b"OT" * 100)
    assert not is_ours(b"12345OT" + bytes(9) + raw[:2] + bytes(5))


def test_other_programs_read_a_year_file_as_one_plain_csv(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    store.commit(DAILY, Commit((piece(0, 2, adj=True),)))
    store.commit(DAILY, Commit((piece(2, 3, adj=True),)))
    path = lane_folder(tmp_path) / "2024.csv.gz"
    expected = (
        "timestamp,open,high,low,close,volume,adj_close\n"
        "2024-01-01 00:00:00,100.0,101.0,99.0,100.0,0.0,50.0\n"
        "2024-01-02 00:00:00,100.1,101.1,99.1,100.1,10.0,50.05\n"
        "2024-01-03 00:00:00,100.2,101.2,99.2,100.2,20.0,50.1\n"
    )
    assert gzip.decompress(path.read_bytes()).decode() == expected
    assert subprocess.run(
        ["gzip", "-dc", path], capture_output=True, check=True
    ).stdout.decode() == (expected)
    pd = pytest.importorskip("pandas")
    assert len(pd.read_csv(path, index_col=0, parse_dates=True)) == 3
    pa = pytest.importorskip("pyarrow.csv")
    assert pa.read_csv(str(path)).num_rows == 3
    first, second = (m for _, m in walk(path.read_bytes(), file_id(DAILY, 2024)))
    assert first.header.spelled == {
        "symbol": "AAPL", "timeframe": "1d", "lane": "", "year": 2024,
        "columns": ["open", "high", "low", "close", "volume", "adj_close"],
    }  # fmt: skip
    assert second.header.spelled == {}
    assert (first.header.prev, second.header.prev) == (None, first.digest[:16])
    assert io.BytesIO(path.read_bytes()).read(10) == bytes.fromhex("1f8b0804 00000000 00ff")


class TestDocuments:
    PLAIN: ClassVar[dict[str, object]] = {"b": [1, 2.5, "é"], "a": {"x": None, "y": True}}

    def test_a_sealed_document_is_read_back(self) -> None:
        data = json_document.dump(self.PLAIN)
        assert json_document.load(data) == self.PLAIN
        assert json_document.dump(dict(reversed(self.PLAIN.items()))) == data
        plain = json.loads(data)
        seal = plain.pop("sha256")
        text = json.dumps(plain, sort_keys=True, separators=(",", ":"))
        assert seal == hashlib.sha256(text.encode()).hexdigest()

    def test_a_document_with_any_bit_flipped_is_rejected_or_reads_the_same(self) -> None:
        data = json_document.dump(self.PLAIN)
        for at in range(len(data)):
            for bit in range(8):
                changed = data[:at] + bytes([data[at] ^ (1 << bit)]) + data[at + 1 :]
                try:
                    assert json_document.load(changed) == self.PLAIN
                except json_document.DamagedError:
                    continue

    @pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"1", b'{"a":1}', b"\xff", b"[" * 9000])
    def test_a_document_without_a_valid_seal_is_corrupt(self, data: bytes) -> None:
        with pytest.raises(CorruptEntryError):
            json_document.load(data)

    def test_a_document_with_nan_is_not_written(self) -> None:
        with pytest.raises(ValueError, match="JSON compliant"):
            json_document.dump({"a": float("nan")})

    def test_a_document_with_non_ascii_letters_is_read(self) -> None:
        text = json.dumps({"a": "é"}, separators=(",", ":"), ensure_ascii=False).encode()
        seal = hashlib.sha256(text).hexdigest()
        data = b'{"sha256": "' + seal.encode("ascii") + b'",' + text[1:] + b"\n"
        assert json_document.load(data) == {"a": "é"}
