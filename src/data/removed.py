"""Names that older programs import and that no longer exist, with their successors.

The names belonged to a second cache and a second router. These no longer exist, because the two
caches or routers would disagree, and a program could not know which one had answered.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType
from typing import Any, NoReturn

_CACHE = "there is only one cache: use onetape.UnifiedCache"
_MANAGER = "one manager queries all vendors: use onetape.get_data_manager()"
_FACTORY = "use onetape.data.downloader.DataDownloaderFactory"
_VENDOR_CLASS = "subclass onetape.data.downloader.BaseDataDownloader"
_FAST = "frames are already read from memory-mapped columns; there is no replacement"
_BARS = "use get_ohlcv() of onetape.get_data_manager(), and validate_ohlcv_data()"
_EXPIRY = "freshness is decided for each bar, by cache.default_ttl_hours in the rules"

# Names in the package root.
NAMES: Mapping[str, str] = MappingProxyType(
    {
        "BaseDataSource": _VENDOR_CLASS,
        "DataSourceFactory": _FACTORY,
        "DataAggregator": _MANAGER,
        "get_data_source_factory": _FACTORY,
        "register_data_source": "register the class as an entry point in the group onetape.providers",
        "create_data_source": "use DataDownloaderFactory.create_downloader()",
        "get_data_source": _MANAGER,
        "get_data_handler": _BARS,
        "DataHandler": _BARS,
        "DataCache": f"{_CACHE}, or onetape.data.v2.DataCache",
        "get_advanced_cache": _CACHE,
        "configure_advanced_cache": _CACHE,
        "LazyDataLoader": _FAST,
        "ParallelProcessor": "use get_ohlcv_batch() of onetape.get_data_manager()",
        "MemoryOptimizer": _FAST,
        "PerformanceMonitor": "use metrics() of onetape.get_data_manager()",
        "get_performance_monitor": "use metrics() of onetape.get_data_manager()",
        "get_memory_optimizer": _FAST,
        "get_data_compressor": _FAST,
        "optimize_dataframe_performance": _FAST,
        "compress_dataframe_efficiently": _FAST,
        "TimeBasedInvalidation": _EXPIRY,
        "VersionBasedInvalidation": _EXPIRY,
    }
)
_NOTIFY = "messages are sent by the callable that a program passes to the alert job"
_HEALTH = "use onetape doctor, and metrics() of onetape.get_data_manager()"
_WEB = "onetape report creates pages; users' rights are in onetape.data.db.services.users_service"
_DOMAIN = "it belongs to one program: keep its tables there, using onetape.data.db.Database"
# Modules below the package root. Each exists as a file that raises an error when it is imported,
# and so does everything below it.
MODULES: Mapping[str, str] = MappingProxyType(
    {
        "db.models.model_kestrel": _DOMAIN,
        "db.models.model_notification": _NOTIFY,
        "db.models.model_short_squeeze": _DOMAIN,
        "db.models.model_system_health": _HEALTH,
        "db.models.model_webui": _WEB,
        "db.services.kestrel_service": _DOMAIN,
        "db.services.notification_service": _NOTIFY,
        "db.services.short_squeeze_service": _DOMAIN,
        "db.services.system_health_service": _HEALTH,
        "db.services.webui_service": _WEB,
        "sources.base_data_source": _VENDOR_CLASS,
        "sources.data_aggregator": _MANAGER,
        "sources.data_source_factory": _FACTORY,
        "utils.advanced_caching": _CACHE,
        "utils.caching": _CACHE,
        "utils.data_handler": _BARS,
        "utils.file_based_cache": _CACHE,
        "utils.performance_optimization": _FAST,
    }
)

_PASSWORDS = "there are no passwords: use the program's own login, then ensure_user_for_telegram()"
_BROADCASTS = (
    "in the program, send to each of list_users() of onetape.data.db.services.telegram_service"
)
# Features of older programs' database that this library lacks: service functions and topics.
RECORDS: Mapping[str, str] = MappingProxyType(
    {
        "authenticate_user_by_email": _PASSWORDS,
        "authenticate_user_by_username": _PASSWORDS,
        "get_broadcast_history": _BROADCASTS,
        "get_broadcast_stats": _BROADCASTS,
        "log_broadcast": _BROADCASTS,
        "schedule_broadcast": _BROADCASTS,
        "sending e-mail": "alerts keep the flag email; a program sends the e-mail in its Deliver callable",
        "a database of an older program": "onetape db init adds its tables; copy the rows with the services",
    }
)


def refuse_module(name: str) -> NoReturn:
    """Refuse to import a removed module, given its full name (``onetape.data.utils.caching``).

    Raises:
        ImportError: Always; the message names the successor.
    """
    below = name.split(".", 2)[-1]
    raise ImportError(f"{name} is not available: {MODULES[below]}", name=name)


def refuse_name(name: str) -> NoReturn:
    """Refuse to import a removed name from the package root.

    Raises:
        ImportError: Always; the message names the successor.
    """
    raise ImportError(f"onetape.data.{name} is not available: {NAMES[name]}", name=name)


def load_part(module: str) -> Any:
    """Import a module of an upper package (``jobs.gaps``) when one of its names is first used.

    Raises:
        MissingExtraError: The package, or a package that it needs, is not installed.
    """
    name = f"{__package__}.{module}"
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if not f"{error.name}.".startswith(f"{__package__}."):
            raise
        from .errors import MissingExtraError

        reason = f"this installation of onetape lacks {error.name}, which is needed here"
        raise MissingExtraError(reason, hint="reinstall onetape") from error
