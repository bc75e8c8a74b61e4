"""Own files as a source: the vendor ``local`` with the layout that is given here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from os import PathLike
from pathlib import Path
from typing import Any

from ..bundles.bundle import Bundle, BundleChange
from ..config.data_adapters import adapter_settings
from ..data_manager import DataManager
from ..errors import QualityError, QueryError
from ..polars import pl
from .vendor_source import SourceAnswer, VendorDataSource, manager_like

__all__ = ["CSVConfig", "CSVDataSource", "SchemaMapping"]


@dataclass(frozen=True)
class SchemaMapping:
    """The columns of a file.

    Attributes:
        date_column: the stamps; opens of bars, or dates.
        open_column, high_column, low_column, close_column, volume_column: the bars.
        symbol_column: names the symbol of each row; None: the file is of one symbol.
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
    """The layout of own files: CSV, gzip CSV or Parquet with a header line.

    Attributes:
        file_path: a file, or a folder with a file of each symbol (``AAPL.csv``).
        schema_mapping: its columns, also as a mapping.
        delimiter: ``,``, ``;``, ``|`` or a tab; None: a comma.
        has_header: True: columns are found by their names.
        date_format: of ``strptime``; None: ISO 8601, or seconds since 1970.
        timezone: of stamps without one.
        missing_data_strategy: ``fail``: a row without a price is an error; ``skip``: frames are without it;
            in a bundle it stands without that price, as in any answer of the data manager.
    """

    file_path: str | PathLike[str]
    schema_mapping: SchemaMapping | Mapping[str, str] = field(default_factory=SchemaMapping)
    delimiter: str | None = None
    has_header: bool = True
    date_format: str | None = None
    timezone: str = "UTC"
    missing_data_strategy: str = "fail"


class CSVDataSource(VendorDataSource):
    """Bars of own files, as the vendor ``local`` reads them: stored, and read again where a file changes.

    Args:
        config: the layout, or the path of a file or folder; None: as ``providers.local`` of the rules says.
        manager: as of :class:`VendorDataSource`.
        symbol: of a file without a column of symbols; None: its name up to the first ``_`` or ``.``.
        **more: fields of :class:`CSVConfig`, ``csv_dir`` for its ``file_path``, and arguments of
            :class:`VendorDataSource`. Where no :class:`CSVConfig` is given, fields that are not given are
            those of ``config/data_adapters.yaml``.

    Raises:
        QueryError: an argument is not known, or asks for what is not served (a ``ValueError``).
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
        names = {one.name for one in fields(CSVConfig)}
        if (folder := more.pop("csv_dir", None)) is not None:
            more.setdefault("file_path", folder)
        own = {name: more.pop(name) for name in names & more.keys()}
        if not isinstance(config, CSVConfig):
            own = {**{k: v for k, v in adapter_settings(self.name).items() if k in names}, **own}
        if config is not None and not isinstance(config, CSVConfig):
            own, config = {"file_path": config, **own}, None
        config = CSVConfig(**{"file_path": "", **own}) if config is None else replace(config, **own)
        if not config.has_header:
            raise QueryError("csv: columns are found by their names: a header line is needed")
        if config.missing_data_strategy not in ("fail", "skip"):
            raise QueryError(
                f"csv: missing_data_strategy={config.missing_data_strategy!r:.20} is not served",
                hint="fail or skip: values are never made up",
            )
        self._config, self._symbol = config, symbol
        self._mapping = _mapping(config.schema_mapping) if own or config.file_path else None
        super().__init__(manager, **more)

    def answer(self, *question: Any, refresh: bool, **options: Any) -> SourceAnswer:
        """Return bars as :meth:`VendorDataSource.answer` does, by the strategy of missing data.

        Raises:
            QualityError: a row has no price, and that is not to be skipped.
        """
        answer = super().answer(*question, refresh=refresh, **options)
        lacks = pl.any_horizontal(pl.col("open", "high", "low", "close").is_null())
        rows = answer.frame.filter(lacks)
        if rows.is_empty():
            return answer
        if self._config.missing_data_strategy == "fail":
            first = rows.row(0, named=True)
            raise QualityError(
                f"csv: {len(rows)} rows have no price, the first of {first['symbol']} at "
                f"{first['timestamp']}",
                hint="missing_data_strategy='skip' leaves them out",
            )
        return answer._replace(frame=answer.frame.filter(~lacks))

    def _written(
        self, bundle: Bundle, symbols: Sequence[str], timeframe: str, bounds: tuple[Any, Any]
    ) -> BundleChange:
        """Write bars into a bundle; where a price lacks, nothing is written, or the row without it."""
        if self._config.missing_data_strategy == "fail":
            self.answer(symbols, *bounds, timeframe, refresh=False)
        return super()._written(bundle, symbols, timeframe, bounds)

    @property
    def _is_apart(self) -> bool:
        return self._mapping is not None

    def _apart(self, base: DataManager) -> DataManager:
        """Return a manager on the same cache whose rules have this layout."""
        rules = dict(base.provider_selector.rules)
        providers = dict(rules.get("providers") or {})
        providers["local"] = {**(providers.get("local") or {}), **self._layout()}
        return manager_like(base, {**rules, "providers": providers})

    def _layout(self) -> dict[str, Any]:
        """Return what ``providers.local`` of the rules is to say."""
        config, mapping = self._config, self._mapping
        assert mapping is not None
        plain = asdict(mapping)
        layout: dict[str, Any] = {
            "time_column": mapping.date_column,
            "columns": {
                name: plain[f"{name}_column"] for name in ("open", "high", "low", "close", "volume")
            },
            "timezone": config.timezone,
        }
        more = {"delimiter": config.delimiter, "time_format": config.date_format}
        layout |= {name: value for name, value in more.items() if value is not None}
        if not config.file_path:
            return layout
        path = Path(config.file_path).expanduser().absolute()
        if path.is_dir():
            return layout | {"folder": str(path), "pattern": "{symbol}"}
        layout |= {"folder": str(path.parent), "pattern": _escaped(path.name)}
        if mapping.symbol_column:
            return layout | {"symbol_column": mapping.symbol_column}
        return layout | {"symbol": self._symbol or path.name.split(".")[0].split("_")[0]}


def _escaped(name: str) -> str:
    """Return the name of a file as a pattern that means it alone."""
    return name.replace("{", "{{").replace("}", "}}")


def _mapping(given: SchemaMapping | Mapping[str, str]) -> SchemaMapping:
    """Return columns; a mapping may name some of them.

    Raises:
        QueryError: it names what is none of them.
    """
    if isinstance(given, SchemaMapping):
        return given
    names = [one.name for one in fields(SchemaMapping)]
    if unknown := sorted(set(given) - set(names)):
        raise QueryError(
            f"csv: no column of bars: {', '.join(unknown)}", hint=f"there are: {', '.join(names)}"
        )
    return SchemaMapping(**given)
