"""The user's own files as a source: the vendor ``local``, with a file layout given in code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from os import PathLike
from pathlib import Path
from typing import Any

from ..bundles.bundle import Bundle, BundleChange
from ..data_manager import DataManager
from ..errors import QualityError, QueryError
from ..layer.frames import pl
from ..model.texts import counted
from .adapter_settings import adapter_settings
from .vendor_source import SourceAnswer, VendorDataSource, manager_like

__all__ = ["CSVConfig", "CSVDataSource", "SchemaMapping"]


@dataclass(frozen=True)
class SchemaMapping:
    """The names of the columns in a file of bars.

    Attributes:
        date_column: Column of the timestamps: the bars' opening times, or dates.
        open_column, high_column, low_column, close_column, volume_column: Columns of the prices and
            the volume.
        symbol_column: Column with the symbol of each row; None means that the file has only one symbol.
    """

    date_column: str = "date"
    open_column: str = "open"
    high_column: str = "high"
    low_column: str = "low"
    close_column: str = "close"
    volume_column: str = "volume"
    symbol_column: str | None = None


@dataclass(frozen=True)
class CSVConfig:
    """The layout of the user's own files: CSV, gzip CSV or Parquet with a header line.

    Attributes:
        file_path: Path of a file, or of a folder with one file per symbol (``AAPL.csv``).
        schema_mapping: Names of the columns; may be a plain mapping.
        delimiter: ``,``, ``;``, ``|`` or a tab; None means a comma.
        has_header: Must be True, because columns are found by their names.
        date_format: ``strptime`` format of the timestamps; None means ISO 8601 or seconds since
            1970.
        timezone: Time zone of naive timestamps.
        missing_data_strategy: ``fail``: a row without a price is an error. ``skip``: frames omit
            such a row, while a bundle contains it without the price, like any answer from the data
            manager.
    """

    file_path: str | PathLike[str]
    schema_mapping: SchemaMapping | Mapping[str, str] = field(default_factory=SchemaMapping)
    delimiter: str | None = None
    has_header: bool = True
    date_format: str | None = None
    timezone: str = "UTC"
    missing_data_strategy: str = "fail"


class CSVDataSource(VendorDataSource):
    """A source of bars from the user's own files, which the vendor ``local`` reads.

    The bars are stored in the cache; a file is read again if it changes.

    Args:
        config: Layout of the files, or the path of a file or folder; None means the layout under
            ``providers.local`` in the rules.
        manager: See :class:`VendorDataSource`.
        symbol: Symbol for a file without a symbol column; None means the file's name up to the
            first ``_`` or ``.``.
        **more: Fields of :class:`CSVConfig`, ``csv_dir`` for its ``file_path``, and arguments of
            :class:`VendorDataSource`. If no :class:`CSVConfig` is given, missing fields are taken
            from ``config/data_adapters.yaml``.

    Raises:
        QueryError: An argument is unknown, or requests something unsupported (a
            ``ValueError``).
    """

    name, provider = "csv", "local"

    def __init__(
        self,
        config: CSVConfig | str | PathLike[str] | None = None,
        *,
        manager: DataManager | None = None,
        symbol: str | None = None,
        **more: Any,
    ) -> None:
        names = {setting.name for setting in fields(CSVConfig)}
        if (folder := more.pop("csv_dir", None)) is not None:
            more.setdefault("file_path", folder)
        given = {name: more.pop(name) for name in names & more.keys()}
        if not isinstance(config, CSVConfig):
            given = {
                **{k: v for k, v in adapter_settings(self.name).items() if k in names},
                **given,
            }
        if config is not None and not isinstance(config, CSVConfig):
            given, config = {"file_path": config, **given}, None
        config = (
            CSVConfig(**{"file_path": "", **given}) if config is None else replace(config, **given)
        )
        if not config.has_header:
            raise QueryError(
                "csv: has_header=False is not supported: columns are found by their names",
                hint="add a header line to each file, such as timestamp,open,high,low,close,volume",
            )
        if config.missing_data_strategy not in ("fail", "skip"):
            raise QueryError(
                f"csv: missing_data_strategy={config.missing_data_strategy!r:.20} is not supported",
                hint="use fail or skip; values are never made up",
            )
        self._config, self._symbol = config, symbol
        self._mapping = _mapping(config.schema_mapping) if given or config.file_path else None
        super().__init__(manager, **more)

    def answer(self, *question: Any, refresh: bool, **options: Any) -> SourceAnswer:
        """Return bars like :meth:`VendorDataSource.answer`; reject or omit rows without a price.

        Raises:
            QualityError: A row has no price, and ``missing_data_strategy`` is ``fail``.
        """
        answer = super().answer(*question, refresh=refresh, **options)
        lacks = pl.any_horizontal(pl.col("open", "high", "low", "close").is_null())
        rows = answer.frame.filter(lacks)
        if rows.is_empty():
            return answer
        if self._config.missing_data_strategy == "fail":
            first = rows.row(0, named=True)
            raise QualityError(
                f"csv: {counted(len(rows), 'row')} without a price, the first for {first['symbol']} at "
                f"{first['timestamp']}",
                hint="missing_data_strategy='skip' leaves them out",
            )
        return answer._replace(frame=answer.frame.filter(~lacks))

    def _write_bundle(
        self, bundle: Bundle, symbols: Sequence[str], timeframe: str, bounds: tuple[Any, Any]
    ) -> BundleChange:
        """Write bars to a bundle.

        If a price is missing, nothing is written with the strategy ``fail``; with ``skip``, the row
        is written without the price.
        """
        if self._config.missing_data_strategy == "fail":
            self.answer(symbols, *bounds, timeframe, refresh=False)
        return super()._write_bundle(bundle, symbols, timeframe, bounds)

    @property
    def _is_apart(self) -> bool:
        return self._mapping is not None

    def _separate_manager(self, base: DataManager) -> DataManager:
        """Return a data manager with the same cache, and with rules that contain this file layout."""
        rules = dict(base.provider_selector.rules)
        providers = dict(rules.get("providers") or {})
        providers["local"] = {**(providers.get("local") or {}), **self._layout()}
        return manager_like(base, {**rules, "providers": providers})

    def _layout(self) -> dict[str, Any]:
        """Return this file layout in the form of ``providers.local`` in the rules."""
        config, mapping = self._config, self._mapping
        assert mapping is not None
        names = asdict(mapping)
        layout: dict[str, Any] = {
            "time_column": mapping.date_column,
            "columns": {
                name: names[f"{name}_column"] for name in ("open", "high", "low", "close", "volume")
            },
            "timezone": config.timezone,
        }
        options = {"delimiter": config.delimiter, "time_format": config.date_format}
        layout |= {name: value for name, value in options.items() if value is not None}
        if not config.file_path:
            return layout
        path = Path(config.file_path).expanduser().absolute()
        if path.is_dir():
            return layout | {"folder": str(path), "pattern": "{symbol}"}
        layout |= {"folder": str(path.parent), "pattern": _escape_pattern(path.name)}
        if mapping.symbol_column:
            return layout | {"symbol_column": mapping.symbol_column}
        return layout | {"symbol": self._symbol or path.name.split(".")[0].split("_")[0]}


def _escape_pattern(name: str) -> str:
    """Return a file name as a glob pattern that matches only this file."""
    return name.replace("{", "{{").replace("}", "}}")


def _mapping(given: SchemaMapping | Mapping[str, str]) -> SchemaMapping:
    """Return the column names; a mapping need only contain names that differ from the defaults.

    Raises:
        QueryError: The mapping names an unknown column.
    """
    if isinstance(given, SchemaMapping):
        return given
    names = [column.name for column in fields(SchemaMapping)]
    if unknown := sorted(set(given) - set(names)):
        raise QueryError(
            f"csv: schema_mapping has unknown columns: {', '.join(unknown)}",
            hint=f"valid ones: {', '.join(names)}",
        )
    return SchemaMapping(**given)
