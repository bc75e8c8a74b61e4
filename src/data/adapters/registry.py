"""The older names of the one registry of sources."""

from __future__ import annotations

from typing import Any

from ..sources.registry import DataSourceRegistry

__all__ = ["AdapterRegistry"]


class AdapterRegistry:
    """A :class:`~onetape.data.sources.DataSourceRegistry` under other method names. Thread-safe.

    Both classes share the same sources.
    """

    get_adapter = DataSourceRegistry.get_source
    list_adapters = DataSourceRegistry.list_sources
    discover_adapters = DataSourceRegistry.list_sources
    clear = DataSourceRegistry.reset

    @classmethod
    def register(cls, name: str | type[Any], adapter_class: type[Any] | None = None) -> None:
        """Register a class as a source, like :meth:`.DataSourceRegistry.register`.

        Args:
            name: Name of the source. If only the class is passed, the name is the class's own name
                in lowercase.
            adapter_class: Class with the four methods of :class:`.DataSource`.

        Raises:
            QueryError: See :meth:`.DataSourceRegistry.register`.
        """
        named: Any = adapter_class if isinstance(name, str) else name
        text = name if isinstance(name, str) else name.__name__.lower()
        DataSourceRegistry.register(text, named)
