"""Tests the recovery from unfinished rewrites and from files of newer versions."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from src.data.core.cache.format.gzip_member import Header, build
from src.data.core.cache.format.json_document import dump, load
from src.data.core.cache.recovery.recover import sound_meta
from src.data.core.cache.store import Commit
from src.data.errors import FormatVersionError
from tests.core.cache.bars import DAILY, EVER, numbers, piece, repaired, store_in, table
from tests.core.cache.damage import (
    DATA,
    META,
    bars,
    change,
    flipped,
    fresh,
    members,
    quarantined,
    three_members,
)
from tests.core.cache.disks import DyingDisk, Killed, RecordingDisk


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the folder of AAPL 1d: bars 0 to 4, provisional bar 5, and an empty span."""
    return three_members(tmp_path)


class TestNewerVersions:
    def newer(self, folder: Path, **keys: object) -> bytes:
        """Put a sound member of a newer version in the place of the last one."""
        at, last = members(folder)[-1]

        class Newer(Header):
            def to_json(self) -> dict[str, object]:
                return super().to_json() | keys

        plain = {name: getattr(last.header, name) for name in Header.__dataclass_fields__}
        raw = build(Newer(**plain), last.text()).raw
        return change(folder / DATA, lambda data: data[:at] + raw)

    @pytest.mark.parametrize(
        "keys",
        [{"v": 2}, {"state": "guess"}, {"need": ["x"]}, {"basis": {"adjustment": "weird"}}],
    )
    @pytest.mark.parametrize("lost", [False, True])
    def test_year_files_of_a_newer_version_are_refused_and_not_changed(
        self, folder: Path, keys: dict[str, object], lost: bool
    ) -> None:
        changed = self.newer(folder, **keys)
        if lost:
            (folder / META).unlink()
        for act in (
            lambda s: s.read(DAILY, EVER),
            lambda s: s.commit(DAILY, Commit((piece(3, 9),))),
            lambda s: repaired(s, DAILY),
        ):
            with pytest.raises(FormatVersionError, match="AAPL 1d 2024"):
                act(fresh(folder))
        assert (folder / DATA).read_bytes() == changed
        assert quarantined(folder) == []

    @pytest.mark.parametrize("edit", [{"format": 2}, {"need": ["x"]}])
    def test_metadata_of_a_newer_format_are_refused_by_reads_and_commits(
        self, folder: Path, edit: dict[str, object]
    ) -> None:
        plain = load((folder / META).read_bytes())
        plain["onetape"] |= edit
        (folder / META).write_bytes(dump(plain))
        with pytest.raises(FormatVersionError):
            fresh(folder).view(DAILY)
        with pytest.raises(FormatVersionError):
            fresh(folder).commit(DAILY, Commit((piece(8, 9),)))
        assert load((folder / META).read_bytes()) == plain

    def test_unknown_keys_of_year_metadata_are_ignored_and_copied(self, folder: Path) -> None:
        self.newer(folder, colour="blue")
        plain = load((folder / META).read_bytes())
        plain["onetape"]["flavour"] = "sweet"
        (folder / META).write_bytes(dump(plain))
        assert bars(folder) == [0, 1, 2, 3, 4, 5]
        fresh(folder).commit(DAILY, Commit((piece(1, 2, shift=1.0),)))
        assert members(folder)[-1][1].header.extra == {"colour": "blue"}
        assert load((folder / META).read_bytes())["onetape"]["flavour"] == "sweet"


class TestPending:
    def pending(self, folder: Path, *, replaced: bool) -> None:
        """Stop a revision of bar 1 before, or after, the new file took the name."""
        for n in range(1, 99):
            copy = folder.parent / "copy"
            shutil.copytree(folder, copy)
            with pytest.raises(Killed):
                store_in(folder.parents[2], DyingDisk(n)).commit(
                    DAILY, Commit((piece(1, 2, shift=1.0),))
                )
            document = json.loads((folder / META).read_bytes())["onetape"]
            same_file = (folder / DATA).read_bytes() == (copy / DATA).read_bytes()
            if "pending" in document and same_file is not replaced:
                shutil.rmtree(copy)
                return
            shutil.rmtree(folder)
            os.rename(copy, folder)
        raise AssertionError("never pending")

    @pytest.mark.parametrize("replaced", [False, True])
    def test_readers_accept_both_states_of_a_pending_rewrite(
        self, folder: Path, replaced: bool
    ) -> None:
        self.pending(folder, replaced=replaced)
        disk = RecordingDisk()
        rows, coverage = fresh(folder, disk).read(DAILY, EVER)
        assert rows.close[1] == table([1], 1.0 if replaced else 0.0).close[0]
        assert fresh(folder).view(DAILY).coverage == coverage
        assert disk.names() == []

    @pytest.mark.parametrize("replaced", [False, True])
    def test_a_writer_completes_or_undoes_a_pending_rewrite(
        self, folder: Path, replaced: bool
    ) -> None:
        self.pending(folder, replaced=replaced)
        repaired(fresh(folder), DAILY)
        plain = json.loads((folder / META).read_bytes())["onetape"]
        assert "pending" not in plain
        assert plain["size"] == (folder / DATA).stat().st_size
        assert quarantined(folder) == []
        rows, _ = fresh(folder).read(DAILY, EVER)
        assert rows.close[1] == table([1], 1.0 if replaced else 0.0).close[0]

    @pytest.mark.parametrize("replaced", [False, True])
    def test_a_pending_rewrite_is_settled_before_bars_are_appended(
        self, folder: Path, replaced: bool
    ) -> None:
        self.pending(folder, replaced=replaced)
        lane = fresh(folder).parts.lane(DAILY)
        found = sound_meta(lane, 2024)
        assert found is not None and found == lane.meta(2024)
        assert found.pending is None

    def test_a_pending_rewrite_with_a_damaged_file_is_salvaged_and_quarantined(
        self, folder: Path
    ) -> None:
        self.pending(folder, replaced=True)
        change(folder / DATA, lambda data: flipped(data, len(data) - 20))
        rows, _ = fresh(folder).read(DAILY, EVER)
        assert numbers(rows) == [0, 1, 2, 3, 4]
        assert len(quarantined(folder)) == 1

    def test_a_pending_rewrite_to_a_smaller_file_keeps_the_old_bars(self, folder: Path) -> None:
        whole = Commit((piece(0, 6, [2]),))
        for n in range(1, 99):
            with pytest.raises(Killed):
                store_in(folder.parents[2], DyingDisk(n)).commit(DAILY, whole)
            plain = json.loads((folder / META).read_bytes())["onetape"]
            if "pending" in plain:
                break
        assert plain["pending"]["size"] < plain["size"] == (folder / DATA).stat().st_size
        disk = RecordingDisk()
        assert numbers(fresh(folder, disk).read(DAILY, EVER)[0]) == [0, 1, 2, 3, 4, 5]
        assert disk.names() == []

    def test_a_pending_rewrite_names_the_committed_year_file_beside_it(self, folder: Path) -> None:
        before = json.loads((folder / META).read_bytes())["onetape"]
        self.pending(folder, replaced=False)
        pending = json.loads((folder / META).read_bytes())["onetape"]["pending"]
        assert pending["committed"] == {name: before[name] for name in ("size", "rows", "head")}
        assert {"size", "rows", "first", "last", "head"} <= pending.keys()
