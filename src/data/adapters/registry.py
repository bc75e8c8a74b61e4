"""The documented import path of the registry of sources under its older names."""

from ..layer.adapters import AdapterRegistry

__all__ = ["AdapterRegistry"]
