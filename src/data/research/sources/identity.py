"""The identity of a custom source: a string made from its name, class and arguments."""

from __future__ import annotations

import hashlib
import inspect
import json
import pickle
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

__all__ = ["identity_of"]


def identity_of(adapter: Any, name: str) -> str:
    """Return a string that identifies a custom source by its name, class and arguments.

    If the arguments cannot be pickled, the string is a new one each time.
    """
    metadata = adapter.get_metadata() if callable(getattr(adapter, "get_metadata", None)) else None
    cls = type(adapter)
    try:
        about = pickle.dumps((cls, _arguments_of(adapter)), protocol=5)
        if b"__main__" in about:  # as every script is
            about += str(Path(sys.modules["__main__"].__file__ or "").resolve()).encode()
    except Exception:  # noqa: BLE001 - the arguments' own code may raise anything
        about = uuid4().bytes
    text = hashlib.sha256(about).hexdigest()
    return json.dumps([name, str(getattr(metadata, "source_url", "")), cls.__qualname__, text])


def _arguments_of(adapter: Any) -> dict[str, Any]:
    """Return a source's constructor arguments by name.

    Raises:
        KeyError: An argument is not known.
    """
    signature, attributes = inspect.signature(type(adapter)), getattr(adapter, "__dict__", {})
    if "_arguments" in attributes:  # each DataSource has them
        args, options = attributes["_arguments"]
        bound = signature.bind(*args, **options)
        bound.apply_defaults()
        return dict(bound.arguments)
    # Attributes with the names of the arguments, as in most classes.
    names = {n: n if n in attributes else f"_{n}" for n in signature.parameters}
    return {name: attributes[attribute] for name, attribute in names.items()}
