"""An older import path of :mod:`onetape.data.vendors.paging`."""

from ..vendors.paging import check_symbol

__all__ = ("check_symbol",)
