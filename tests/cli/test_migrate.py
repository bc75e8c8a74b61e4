"""``onetape bundle migrate-hdf5-to-parquet`` and ``onetape bundle migrate``: runs and reverts."""

from __future__ import annotations

import sys
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from src.data.core.clock import ManualClock
from src.data.core.model.time.instant import DAY_MS
from src.data.research.bundles.bundle import Bundle, bundle_names
from src.data.research.catalog.migration import HDF5ToParquetMigrator
from src.data.research.frames.frames import DecimalFrame, decimal_frame
from tests.cli.conftest import Run
from tests.research.bundles.hdf5_samples import WHY, bars, write

needs_hdf5 = pytest.mark.usefixtures("_needs_hdf5")


@pytest.fixture
def _needs_hdf5() -> None:
    pytest.importorskip("h5py", reason=WHY)
    pytest.importorskip("tables", reason=WHY)


@pytest.fixture
def folder(tmp_path: Path, machine: None, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of bundles that the settings name, with two bundles of HDF5 files."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "xdg"))
    place = tmp_path / "data" / "bundles"
    for number, name in enumerate(("quandl", "csvdir"), 1):
        write(place / name / "prices.h5", {f"S{number}": bars(first=number)}, format="table")
    (tmp_path / "config").mkdir()
    text = "catalog: {parquet_dir: data/bundles}\n"
    (tmp_path / "config" / "data_catalog.yaml").write_text(text)
    return place


PRINTED = (
    "ingest migrate-hdf5-to-parquet --bundle quandl --source-dir data/bundles/quandl "
    "--output-dir data/bundles/quandl_parquet --validate"
)


@needs_hdf5
def test_the_printed_command_migrates_one_bundle(bare: Run, folder: Path) -> None:
    ran = bare(*PRINTED.split())
    assert (ran.code, ran.err) == (0, "")
    shown = " ".join(ran.out.split())
    assert "bundle quandl_parquet" in shown and "state migrated row count 5 hdf5 size mb" in shown
    assert bundle_names(folder) == ["quandl_parquet"]
    shown = bare("bundle", "info", "quandl_parquet", "--json").json
    assert (shown["symbols"], shown["source_type"], shown["row_count"]) == (["S1"], "hdf5", 5)
    assert (folder / "quandl" / "prices.h5").is_file()
    assert bare(*PRINTED.split(), "--json").json["bundles"][0]["state"] == "migrated"


@needs_hdf5
def test_all_are_migrated_at_the_same_time_and_one_error_stops_no_other(
    bare: Run, folder: Path
) -> None:
    (folder / "broken").mkdir()
    (folder / "broken" / "x.h5").write_bytes(b"no HDF5")
    ran = bare(*"ingest migrate-hdf5-to-parquet --all --validate --parallel 4 --json".split())
    assert ran.code == 1 and "x.h5 cannot be read as HDF5" in ran.err
    names = [one["bundle"] for one in ran.json["bundles"]]
    assert names == bundle_names(folder) == ["csvdir_parquet", "quandl_parquet"]
    assert all(one["row_count"] == 5 for one in ran.json["bundles"])


@needs_hdf5
def test_validate_apply_and_revert_within_seven_days(
    bare: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = bare("bundle", "migrate", "--validate")
    assert ran.code == 0 and bundle_names(folder) == []
    assert " ".join(ran.out.split()).count("state new row count 5") == 2
    assert bare("bundle", "migrate", "--apply").code == 0
    assert bundle_names(folder) == ["csvdir_parquet", "quandl_parquet"]
    again = bare("bundle", "migrate", "--validate", "--json").json["bundles"]
    assert [(one["state"], one["row_count"]) for one in again] == 2 * [("migrated", 5)]
    ran = bare("bundle", "migrate", "quandl", "--revert")
    assert ran.code == 0 and ran.out.split()[-2:] == ["state", "reverted"]
    assert bundle_names(folder) == ["csvdir_parquet"]
    migrated = Bundle("csvdir_parquet", folder).records().origin.ingested_at
    later = ManualClock(migrated + 8 * DAY_MS)
    monkeypatch.setattr("src.data.research.catalog.migration.SystemClock", lambda: later)
    ran = bare("bundle", "migrate", "csvdir", "--revert")
    assert ran.code == 1 and "in the last 7 days" in ran.err
    assert bundle_names(folder) == ["csvdir_parquet"]
    assert len(list(folder.glob("*/*.h5"))) == 2


@needs_hdf5
def test_output_dir_is_the_folder_of_one_bundle_or_of_all(bare: Run, folder: Path) -> None:
    one = folder.parent / "elsewhere" / "mine"
    assert bare(*PRINTED.split()[:6], "--output-dir", str(one)).code == 0
    assert Bundle("mine", folder).path == one and (one / "metadata.parquet").is_file()
    ran = bare("bundle", "migrate", "--apply", "--output-dir", str(folder.parent / "all"))
    assert ran.code == 0
    assert bundle_names(folder.parent / "all") == ["csvdir_parquet", "quandl_parquet"]


@needs_hdf5
@pytest.mark.parametrize(
    "again",
    [
        "ingest migrate-hdf5-to-parquet --bundle quandl --validate",
        "bundle migrate quandl --validate",
        "bundle migrate quandl --revert",
    ],
)
def test_without_output_dir_a_bundle_elsewhere_is_neither_compared_nor_removed(
    bare: Run, folder: Path, again: str
) -> None:
    other = folder.parent / "elsewhere" / "quandl_parquet"
    assert bare(*PRINTED.split()[:6], "--output-dir", str(other)).code == 0
    ran = bare(*again.split())
    assert ran.code == 1 and f"the name quandl_parquet is registered for {other}" in ran.err
    assert "--output-dir" in ran.err
    assert not (folder / "quandl_parquet").exists() and (other / "metadata.parquet").is_file()
    out = "--output-dir", str(other.parent if "bundle migrate" in again else other)
    assert bare(*again.split(), *out).code == 0


@needs_hdf5
def test_validate_finds_what_was_written_wrong(
    bare: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fewer(rows: Any, **options: Any) -> DecimalFrame:
        return DecimalFrame(decimal_frame(rows, **options).frame.head(3), 0)

    monkeypatch.setattr("src.data.research.bundles.bundle_writer.decimal_frame", fewer)
    ran = bare(*PRINTED.split())
    assert ran.code == 1 and "it has 3 bars, not 5" in ran.err and bundle_names(folder) == []
    ran = bare(*PRINTED.split()[:-1])
    assert ran.code == 0 and bundle_names(folder) == ["quandl_parquet"]


@needs_hdf5
def test_parallel_is_the_number_of_bundles_at_once(
    bare: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = Barrier(2, timeout=20)
    migrate = HDF5ToParquetMigrator.migrate

    def met(migrator: HDF5ToParquetMigrator, **options: Any) -> dict[str, Any]:
        """Migrate a bundle once the migration of the other one has begun."""
        both.wait()
        return migrate(migrator, **options)

    monkeypatch.setattr(HDF5ToParquetMigrator, "migrate", met)
    assert bare(*"ingest migrate-hdf5-to-parquet --all --parallel 2".split()).code == 0


def test_help_is_about_the_subcommand_that_was_typed(bare: Run) -> None:
    ran = bare("ingest", "migrate-hdf5-to-parquet", "--help")
    assert ran.code == 0 and ran.out.startswith("usage: onetape bundle migrate-hdf5-to-parquet ")
    for option in ("--bundle", "--source-dir", "--output-dir", "--all", "--validate", "--parallel"):
        assert option in ran.out
    assert "--api-key" not in ran.out
    ran = bare("ingest", "migrate-hdf5", "--help")
    assert ran.code == 2 and "Unknown data source 'migrate-hdf5'" in ran.err and ran.out == ""
    assert "migrate-hdf5-to-parquet" in bare("bundle", "--help").out


@pytest.mark.parametrize("words, said", [
    ("ingest migrate-hdf5-to-parquet", "one of the arguments -b/--bundle --all is required"),
    ("ingest migrate-hdf5-to-parquet --all --bundle x", "not allowed with"),
    ("ingest migrate-hdf5-to-parquet --all --symbols A", "unknown: --symbols"),
    ("ingest migrate-hdf5-to-parquet --all --parallel 0", "invalid value '0'; use a positive integer"),
    ("ingest migrate-hdf5-to-parquet --bundle ../x", "invalid bundle name '../x'"),
    ("bundle migrate --revert ok ../x", "invalid bundle name '../x'"),
    ("bundle migrate", "--validate --apply --revert is required"),
    ("bundle migrate --apply --revert", "not allowed with"),
])  # fmt: skip
def test_wrong_options_are_named(bare: Run, tmp_path: Path, words: str, said: str) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "x.h5").write_bytes(b"")
    source = ["--source-dir", str(tmp_path)] if "--parallel" in words else []
    ran = bare(*words.split(), *source)
    assert ran.code == 2 and said in ran.err


def test_a_folder_without_hdf5_files_is_named(bare: Run, tmp_path: Path) -> None:
    for what in ("--validate", "--apply"):
        ran = bare("bundle", "migrate", what, "--source-dir", str(tmp_path))
        assert ran.code == 1 and "contains HDF5 files" in ran.err and "--source-dir" in ran.err


def test_migration_without_h5py_names_the_hdf5_extra(
    bare: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    (tmp_path / "x.h5").write_bytes(b"")
    ran = bare(
        *"ingest migrate-hdf5-to-parquet -b x --source-dir".split(), str(tmp_path),
        "--output-dir", str(tmp_path / "out" / "x"),
    )  # fmt: skip
    assert ran.code == 2 and "HDF5 files need h5py" in ran.err and "hdf5]" in ran.err
