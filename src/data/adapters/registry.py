"""The older names of the one registry of sources."""

from __future__ import annotations

from typing import Any

from ..sources.registry import DataSourceRegistry

__all__ = ["AdapterRegistry"]


class AdapterRegistry:
    """:class:`~src.data.sources.DataSourceRegistry` by other names, with the same sources. Thread-safe."""

    get_adapter = DataSourceRegistry.get_source
    list_adapters = DataSourceRegistry.list_sources
    discover_adapters = DataSourceRegistry.list_sources
    clear = DataSourceRegistry.reset

    @classmethod
    def register(cls, name: str | type[Any], adapter_class: type[Any] | None = None) -> None:
        """Make a source of a class, as :meth:`.DataSourceRegistry.register` does.

        Args:
            name: its name; a class alone is registered by its own name in small letters.
            adapter_class: with the four methods of :class:`.DataSource`.

        Raises:
            QueryError: as there.
        """
        named: Any = adapter_class if isinstance(name, str) else name
        text = name if isinstance(name, str) else name.__name__.lower()
        DataSourceRegistry.register(text, named)
