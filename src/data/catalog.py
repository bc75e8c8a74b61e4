"""The older import path of ``DataCatalog``, which is now in ``onetape.data.bundles``.

This module is provisional: a minor release may change its names and results.
"""

from __future__ import annotations

import warnings

from .layer.catalog import DataCatalog

__all__ = ["DataCatalog"]

warnings.warn(
    (
        "onetape.data.catalog is deprecated and will be removed in December 2027 at the "
        "earliest: import DataCatalog from onetape.data.bundles"
    ),
    DeprecationWarning,
    stacklevel=2,
)
