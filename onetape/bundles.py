"""Answers as folders of Parquet files, the catalog of them, prices for backtests, and what a run has read.

A minor release may change these names; ``docs/bundles.md`` describes them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .public import door

if TYPE_CHECKING:
    # Made by `make lists`.
    from .data.research.bundles.bundle import Bundle as Bundle
    from .data.research.bundles.bundle import bundle_names as bundle_names
    from .data.research.bundles.bundle_reader import (
        PolarsParquetDailyReader as PolarsParquetDailyReader,
    )
    from .data.research.bundles.bundle_reader import (
        PolarsParquetMinuteReader as PolarsParquetMinuteReader,
    )
    from .data.research.bundles.bundle_writer import ParquetWriter as ParquetWriter
    from .data.research.bundles.scan import scan as scan
    from .data.research.bundles.sql import query as query
    from .data.research.catalog.catalog import BundleMetadata as BundleMetadata
    from .data.research.catalog.catalog import DataCatalog as DataCatalog
    from .data.research.catalog.migration import HDF5ToParquetMigrator as HDF5ToParquetMigrator
    from .data.research.frames.frames import decimal_frame as decimal_frame
    from .data.research.frames.frames import float_frame as float_frame
    from .data.research.frames.series import scan_series as scan_series
    from .data.research.lineage.lineage import LineageRun as LineageRun
    from .data.research.lineage.lineage import Lineages as Lineages
    from .data.research.lineage.lineage import lineage as lineage
    from .data.research.lineage.lineage_export import exported as exported
    from .data.research.portal.data_portal import DataPortal as DataPortal
    from .data.research.portal.polars_portal import PolarsDataPortal as PolarsDataPortal
    from .data.research.portal.portal import PandasDataPortal as PandasDataPortal
else:
    __all__, __getattr__, __dir__ = door(__name__)
