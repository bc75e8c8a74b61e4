"""SQL over stored series and bundles, by DuckDB: read-only, without the network or other files."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from difflib import get_close_matches
from functools import partial
from os import PathLike
from typing import TYPE_CHECKING, Any

from ...core.bars.client import Wishes
from ...data_manager import DataManager, get_data_manager
from ...errors import (
    AllProvidersFailedError,
    CacheError,
    MissingExtraError,
    NoProviderError,
    QueryError,
    install_line,
)
from ..frames.frames import FIELDS, time_column
from ..frames.series import stored_frame
from .bundle import Bundle
from .bundle_files import BundleFiles
from .bundle_records import Records
from .scan import common_frequency, reader_of

try:
    import duckdb
except ImportError as missing:
    raise MissingExtraError("SQL needs DuckDB", hint=install_line("sql")) from missing

if TYPE_CHECKING:
    import pandas as pd

    from ...core.model.identity.series import SeriesKey

__all__ = ["query"]

_TEXT = r"'((?:[^']|'')*)'\s*"
_CALL = re.compile(rf"\b(bars|bundle)\s*\(\s*{_TEXT}(?:,\s*{_TEXT})?(?:,\s*{_TEXT})?\)", re.I)
_MOST_ROWS = 1_000_000
_MOST_BYTES = 500_000_000
_LONGEST_S = 120.0
_CONFIG = {"memory_limit": "1GB", "temp_directory": ""}
_NARROW = "select fewer rows and columns, a shorter range or aggregates"
# Without external access DuckDB opens no files, loads no extensions and sees no variables of Python.
_LOCKS = "SET enable_external_access = false; SET lock_configuration = true"


def query(
    statement: str,
    *,
    manager: DataManager | None = None,
    folder: str | PathLike[str] | None = None,
) -> pd.DataFrame:
    """Return the result of a SELECT statement over stored series and bundles.

    ``bars('AAPL', '1d')`` is the table of the stored bars of a series, as ``get_ohlcv`` returns
    them with ``offline=True``: ``timestamp`` (naive UTC), prices and volumes (``DOUBLE``).
    ``bars('AAPL', '1d', 'demo')`` names the ``provider``, which sample bars need.
    ``bundle('mine')`` is the table of a bundle: ``symbol``, ``date`` (or ``timestamp``), prices and
    volumes (exact ``DECIMAL``); ``bundle('mine', 'minute')`` names the frequency for a bundle that
    has two. The arguments must be texts in quotes. DuckDB cannot change anything, open any other
    file, use the network or load extensions. Its tables, sorts and groups use at most 1 GB of memory,
    which a single value may exceed; it is stopped after 120 seconds.

    Args:
        statement: One SELECT statement in DuckDB's dialect.
        manager: Data manager that reads the series, or None for the one that
            ``get_data_manager`` returns.
        folder: Bundles folder, or None for the configured one.

    Returns:
        The rows of the result, at most 1,000,000 and 500 MB. Decimals are converted to floats.

    Raises:
        QueryError: DuckDB rejects the statement, it is not a single SELECT statement, takes too
            long or needs too much memory, or its result is too large.
        CacheError: Nothing is stored for a series; the hint contains the nearest names.
        BundleNotFoundError: A bundle does not exist; the hint contains the nearest names.
    """
    if not isinstance(statement, str):
        raise QueryError(f"the statement must be a text, not {type(statement).__name__}")
    manager = get_data_manager() if manager is None else manager
    calls = {
        call[0]: (call[1].lower(), *(text.replace("''", "'") for text in call.groups("")[1:]))
        for call in _CALL.finditer(statement)
    }
    bundles = {name: Bundle(name, folder) for what, name, *_ in calls.values() if what == "bundle"}

    def run() -> Any:
        """Return the result of the statement on the series and bundles as they are now."""
        with closing(duckdb.connect(":memory:", config=_CONFIG)) as connection:
            text, paths = statement, list[str]()
            for call, (what, name, detail, provider) in calls.items():
                view = _quoted(" ".join(filter(None, (what, name, detail, provider))), '"')
                if what == "bars":
                    connection.register(view[1:-1], _bars(manager, name, detail, provider))
                elif provider:
                    raise QueryError(f"{call}: a bundle has a name and a frequency, nothing else")
                else:
                    paths += _add_bundle(connection, view, bundles[name], detail)
                text = text.replace(call, view)
            connection.execute(f"SET allowed_paths = [{', '.join(paths)}]; {_LOCKS}").fetchall()
            kinds = [one.type for one in connection.extract_statements(text)]
            if kinds != [duckdb.StatementType.SELECT]:
                raise QueryError("only a single SELECT statement is accepted")
            with _stopped_if_long(connection):
                return _rows(connection.execute(text))

    read: Callable[[], Any] = run
    for bundle in bundles.values():  # all files of a bundle are read in one of its states
        read = partial(BundleFiles(bundle.path).whole, partial(_called, read))
    try:
        frame: pd.DataFrame = read()
    except (duckdb.Error, MemoryError) as error:
        raise _explained(error) from error
    return frame


def _explained(error: BaseException) -> QueryError:
    if isinstance(error, duckdb.InterruptException):
        return QueryError(f"the statement ran for {_LONGEST_S:g} seconds", hint=_NARROW)
    if isinstance(error, duckdb.OutOfMemoryException | MemoryError):
        return QueryError("Out of Memory: the statement needs more than it may use", hint=_NARROW)
    return QueryError(f"DuckDB: {str(error).splitlines()[0]}")


@contextmanager
def _stopped_if_long(connection: Any) -> Iterator[None]:
    """Interrupt what the connection runs in this block after the longest time."""
    done = threading.Event()

    def watch() -> None:
        """Interrupt the connection once the time is over, and again until the block ends."""
        wait = _LONGEST_S
        while not done.wait(wait):
            connection.interrupt()
            wait = 0.1  # nothing is interrupted between two steps of the block

    watcher = threading.Thread(target=watch, name="onetape-sql", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()


def _rows(result: Any) -> pd.DataFrame:
    """Return the rows of a result, read in parts so that one that is too large is never in memory.

    Raises:
        QueryError: The result has too many rows or bytes.
    """
    import pandas as pd

    parts: list[pd.DataFrame] = []
    rows = size = 0
    while not parts or len(parts[-1]):
        parts.append(result.fetch_df_chunk())
        rows += len(parts[-1])
        size += int(parts[-1].memory_usage(deep=True).sum())
        if rows > _MOST_ROWS:
            raise QueryError(f"the result has more than {_MOST_ROWS:,} rows", hint="add LIMIT")
        if size > _MOST_BYTES:
            raise QueryError(f"the result has more than {_MOST_BYTES:,} bytes", hint=_NARROW)
    return pd.concat(parts[:-1] or parts, ignore_index=True)


def _bars(manager: DataManager, symbol: str, timeframe: str, provider: str) -> pd.DataFrame:
    """Return the stored bars of a series, with naive times in a column.

    Raises:
        CacheError: Nothing is stored for the series.
    """
    try:
        wishes = Wishes(provider=provider or None, offline=True)
        frame = stored_frame(manager.client, symbol, timeframe, wishes)
    except (AllProvidersFailedError, NoProviderError) as error:
        known = {str(key): _call_for(key) for key in manager.client.series()}
        name = "@".join(filter(None, (f"{symbol} {timeframe}", provider)))
        raise CacheError(f"nothing is cached for {name}", hint=_nearest(name, known)) from error
    return frame.tz_localize(None).reset_index()


def _call_for(key: SeriesKey) -> str:
    """Return the table of a stored series as a statement names it."""
    provider = f", '{key.action_key}'" if key.is_sample else ""
    return f"bars('{key.symbol}', '{key.timeframe}'{provider})"


def _called(read: Callable[[], Any], _: Records) -> Any:
    return read()


def _add_bundle(connection: Any, view: str, bundle: Bundle, frequency: str) -> list[str]:
    """Add a bundle as a view, and return the paths of its files as texts of SQL."""
    records = bundle.records()
    frequency = common_frequency({bundle: records}, frequency or None)
    paths = [_quoted(str(path), "'") for path in reader_of(bundle, frequency).paths()]
    names = view.replace('"', '"symbols of ', 1)
    columns = ", ".join(("symbol", time_column(frequency), *FIELDS))
    connection.execute(
        f"CREATE TABLE {names} AS SELECT unnest($1::BIGINT[]) AS sid, unnest($2::VARCHAR[]) AS symbol",
        [list(column) for column in zip(*records.names().items(), strict=True)],
    ).fetchall()
    files = f"read_parquet([{', '.join(paths)}], hive_partitioning = false)"
    rows = f"SELECT {columns} FROM {files} JOIN {names} USING (sid)"  # noqa: S608 - all of it is quoted
    connection.execute(f"CREATE VIEW {view} AS {rows}").fetchall()
    return paths


def _nearest(name: str, calls: Mapping[str, str]) -> str:
    near = get_close_matches(name, sorted(calls), n=3, cutoff=0.5)
    return (
        f"nearest: {', '.join(calls[one] for one in near)}"
        if near
        else "the cache has nothing with a similar name"
    )


def _quoted(text: str, mark: str) -> str:
    return mark + text.replace(mark, mark * 2) + mark
