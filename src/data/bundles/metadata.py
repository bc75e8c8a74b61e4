"""The documented import path of the metadata of bundles."""

from ..layer.catalog import BundleMetadata

__all__ = ["BundleMetadata"]
