"""Downloaders as the rules want them: what is said to constructors, and what came of it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from ..config.credentials import credentials_for, vendor_credentials
from ..errors import (
    ConfigError,
    DataError,
    MissingExtraError,
    UnknownProviderError,
)
from ..model.instant import MINUTE_MS
from ..model.rules import ProviderRules, Rules
from .base import BaseDataDownloader, is_ours, sends_by_machinery
from .factory import DataDownloaderFactory, canonical_name, downloader_class, usable_class
from .foreign import OwnSender, call_foreign
from .registry import canonical_vendor, family_of, key_names

_log = logging.getLogger(__name__)


class DownloaderPool:
    """Makes downloaders as one set of rules wants them. Thread-safe where callers take turns.

    A vendor that could not be made is not tried again, nor logged again, until one of its keys
    has come or gone. One that was made here and lacks a key by now is out of use until it is back.

    Args:
        rules: what is said to each vendor.
        factory: tells what makes a vendor by its name.
        make_sender: gives a downloader what carries its requests; by default the process's own.
    """

    def __init__(
        self,
        rules: Rules,
        factory: Callable[[], type[DataDownloaderFactory]],
        make_sender: Callable[[str], Any] | None,
    ) -> None:
        self._rules = rules
        self._factory = factory
        self._make_sender = make_sender
        self._arguments: dict[str, dict[str, Any]] = {}
        self._variables: dict[str, frozenset[str]] = {}
        self._refused: dict[str, tuple[Any, ...]] = {}
        self._made: list[BaseDataDownloader] = []

    def supply(self, name: str, downloaders: dict[str, Any]) -> Any | None:
        """Return the downloader of a vendor or alias, or None where there can be none just now.

        Args:
            name: of the vendor.
            downloaders: what there is by name; a new one is put there under both its names.
        """
        code = canonical_vendor(name) or name
        downloader = downloaders.get(code, downloaders.get(name))
        if downloader is None:
            downloader = self._make(code)
        if downloader is None or self._is_out(downloader):
            return None
        downloaders.setdefault(code, downloader)
        downloaders.setdefault(name, downloader)
        return downloader

    def variables(self, name: str) -> frozenset[str]:
        """Return the variables that :meth:`supply` looks at for a vendor or alias."""
        code = canonical_vendor(name) or name
        if code not in self._variables:
            credentials = self._said_to(code).get("credentials")
            cls = usable_class(code)
            own = credentials_for(cls.secrets).variables if cls is not None else frozenset()
            self._variables[code] = own | (
                credentials.variables if credentials is not None else frozenset()
            )
        return self._variables[code]

    def take_back(self, downloaders: dict[str, Any]) -> None:
        """Remove from ``downloaders`` what was made here; what others have put there stays."""
        for name, one in list(downloaders.items()):
            if any(one is made for made in self._made):
                del downloaders[name]

    def _is_out(self, downloader: object) -> bool:
        """Tell whether ``downloader`` was made here and a key that it needs is gone since."""
        return any(made is downloader and made.lacking for made in self._made)

    def _make(self, code: str) -> Any | None:
        factory, arguments = self._factory(), self._said_to(code)
        state = (factory, tuple(arguments.get("credentials", ())))
        if self._refused.get(code) == state:
            return None
        made = self._new(code, factory, dict(arguments))
        if made is None:
            self._refused[code] = state
        elif is_ours(made):
            self._made.append(made)
        return made

    def _said_to(self, code: str) -> dict[str, Any]:
        if code not in self._arguments:
            self._arguments[code] = constructor_arguments(self._rules.provider(code))
        return self._arguments[code]

    def _new(
        self, code: str, factory: type[DataDownloaderFactory], arguments: dict[str, Any]
    ) -> Any | None:
        """Return a new downloader, or None where it cannot be made; why not is logged."""
        if self._make_sender is not None and family_of(code) in factory.list_providers():
            try:
                arguments["sender"] = self._make_sender(code)
            except (MissingExtraError, UnknownProviderError) as exc:
                _log.warning("%s cannot be asked: %s", code, exc)
                return None
        made = factory.create_downloader(code, **arguments)
        apply_settling(made, self._rules.provider(code))
        return made


def constructor_arguments(rules: ProviderRules) -> dict[str, Any]:
    """Return the keyword arguments that the rules have for a vendor; what they leave out is absent."""
    arguments: dict[str, Any] = {}
    if rules.base_url:
        arguments["base_url"] = rules.base_url
    if key_names(rules.name) or rules.api_key_env:
        arguments["credentials"] = vendor_credentials(
            rules.name, rules.api_key_env, rules.secret_key_env, names=own_names(rules.name)
        )
    if rules.name == "local":
        arguments["files"] = dict(rules.options)
    if rules.name == "ibkr":
        arguments |= rules.options
    return arguments


def own_names(vendor: str) -> tuple[str, ...]:
    """Return the names by which another package's vendor asks for its keys."""
    cls = None if key_names(vendor) else usable_class(vendor)
    secrets = cls.secrets if cls is not None else ()
    return tuple(entry if isinstance(entry, str) else entry[0] for entry in secrets)


def apply_settling(downloader: Any, rules: ProviderRules) -> None:
    """Give a downloader of ours the settling time of the rules, where they name one."""
    if rules.settle_minutes is None or not is_ours(downloader):
        return
    assert isinstance(downloader, BaseDataDownloader)
    settle_ms = round(rules.settle_minutes * MINUTE_MS)
    downloader.capabilities = replace(downloader.capabilities, settle_ms=settle_ms)


def supplied(selector: Any, name: str) -> Any | None:
    """Return the downloader that a selector has for a vendor, or makes; None where there is none.

    Args:
        selector: ours, or a user's double of it, which need not be able to make any.
        name: of the vendor.
    """
    downloader = selector.downloaders.get(name)
    make = getattr(selector, "_initialize_downloader", None)
    return make(name) if downloader is None and make is not None else downloader


def own_sender(selector: Any, name: str, downloader: Any) -> OwnSender | None:
    """Return what limits, repeats and counts calls of a downloader that is not ours.

    None where its requests pass through a sender of ours anyway.

    Args:
        selector: ours, or a user's double of it, which need not have any.
        name: under which the downloader stands.
        downloader: asked by its own methods.
    """
    make = getattr(selector, "own_sender", None)
    if make is None or sends_by_machinery(downloader):
        return None
    return partial(make, name, downloader)


def not_made(selector: Any, name: str) -> DataError | None:
    """Return why a selector has no downloader of a vendor; None where it has one, or cannot tell.

    Args:
        selector: ours, or a user's double of it.
        name: of the vendor.
    """
    try:
        if not hasattr(selector, "make_sender") or supplied(selector, name) is not None:
            return None
        if canonical_name(name) is None:
            return UnknownProviderError("this version does not serve it")
        cls: Any = downloader_class(name)
        # The selector only logs why: it is made once more to hear it.
        arguments = constructor_arguments(selector.parsed_rules.provider(name))
        if selector.make_sender is not None:
            arguments["sender"] = selector.make_sender(name)
        call_foreign(lambda: cls(**arguments), name)
    except DataError as error:
        return error
    return ConfigError("it could not be made")
