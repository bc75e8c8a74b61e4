"""An older import path of :mod:`src.data.vendors.paging`."""

from ..vendors.paging import check_symbol

__all__ = ("check_symbol",)
