"""The optional module ``config.donotshare.donotshare`` of older installations.

It is imported only where it exists, and only names that this library knows are read from it. The
environment comes first.
"""

from __future__ import annotations

import importlib
import logging
from functools import lru_cache
from types import ModuleType

_MODULE = "config.donotshare.donotshare"
_log = logging.getLogger(__name__)


def private_setting(name: str) -> str:
    """Return what the module holds under ``name`` as text; empty where there is nothing."""
    module = _module()
    value = getattr(module, name, None) if module is not None else None
    return "" if value is None else str(value)


@lru_cache(maxsize=1)
def _module() -> ModuleType | None:
    try:
        return importlib.import_module(_MODULE)
    except ImportError as exc:
        # Absent is the usual case; present but broken must not pass for absent.
        if not _MODULE.startswith(exc.name or "?"):
            _log.warning("%s exists but cannot be imported: no module %s", _MODULE, exc.name)
        return None
