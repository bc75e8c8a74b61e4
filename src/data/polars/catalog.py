"""The documented import path of the catalog of datasets."""

from ..bundles.catalog import DataCatalog

__all__ = ["DataCatalog"]
