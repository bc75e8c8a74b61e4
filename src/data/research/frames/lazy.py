"""A frame that is loaded when it is first used."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from ...core.runtime.forks import renew_after_fork
from ...errors import QueryError

if TYPE_CHECKING:
    from .frames import pl

__all__ = ["LazyDataFrame"]


class LazyDataFrame:
    """A Polars frame that is loaded once, when it is first used. Thread-safe.

    Every attribute of the frame can be used. If loading fails, the error is raised and the next use
    tries again. A copy or pickle contains the loader, not the rows.

    Args:
        loader_func: Function that returns the frame. If it has a method ``load_slice(start,
            length)``, :meth:`slice` calls that before the frame is loaded.
        cache_key: Name of the frame, for :func:`repr`.
    """

    def __init__(self, loader_func: Callable[[], pl.DataFrame], cache_key: str) -> None:
        self._loader = loader_func
        self._cache_key = cache_key
        self._data: pl.DataFrame | None = None
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Create a new lock in a forked child."""
        self._lock = threading.Lock()

    def __reduce__(self) -> Any:
        return type(self), (self._loader, self._cache_key)

    def __repr__(self) -> str:
        state = "not loaded" if self._data is None else f"{len(self._data)} rows"
        return f"<LazyDataFrame {self._cache_key}, {state}>"

    def __getattr__(self, name: str) -> Any:
        # Called only for names that this object lacks. Its own are missing while it is unpickled.
        if name.startswith("_"):
            raise AttributeError(f"LazyDataFrame has no attribute {name!r}")
        return getattr(self.collect(), name)

    def __len__(self) -> int:
        return len(self.collect())

    def __getitem__(self, key: Any) -> Any:
        return self.collect()[key]

    def __contains__(self, name: object) -> bool:
        return name in self.collect().columns

    def __iter__(self) -> Iterator[Any]:
        return iter(self.collect())

    @property
    def is_loaded(self) -> bool:
        """Whether the frame has been loaded."""
        return self._data is not None

    def collect(self) -> pl.DataFrame:
        """Return the frame, loading it on first use (only once, even from several threads)."""
        data = self._data
        if data is None:
            with self._lock:
                data = self._data
                if data is None:
                    data = self._loader()
                    if data is None:
                        raise QueryError(f"the loader of {self._cache_key} returned no frame")
                    self._data = data
        return data

    def slice(self, start: int, length: int | None = None) -> pl.DataFrame:
        """Return rows ``start`` to ``start + length``; if length is None, all rows from ``start`` on.

        A negative start counts from the end. Before the frame is loaded, ``load_slice`` is called
        if the loader has this method, which leaves the frame unloaded.
        """
        load = getattr(self._loader, "load_slice", None)
        if self._data is None and load is not None:
            rows: pl.DataFrame = load(start, length)
            return rows
        return self.collect().slice(start, length)
