"""Vendor classes by name, the factory for downloaders, and the pool of downloaders created from rules.

A class is imported on first use. Vendors from other packages are found through the entry-point
group ``onetape.providers``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, TypeVar, cast
from weakref import WeakSet

from ...errors import (
    ConfigError,
    DataError,
    ForeignError,
    MissingCredentialsError,
    MissingExtraError,
    UnknownProviderError,
)
from ..config.credentials import credentials_for, vendor_credentials
from ..config.offered import (
    PROVIDERS,
    add_offer,
    forget_offers,
    install_hint,
    known_hint,
    known_vendor,
    offers,
    program_offer,
)
from ..config.rules import ProviderRules, Rules
from ..model.request.capabilities import Capabilities
from ..model.time.instant import MINUTE_MS
from ..registry import (
    SERVED,
    VENDORS,
    canonical_vendor,
    family_of,
    is_of_files,
    key_names,
    load,
    row_of,
)
from .answer_types import wrong_capabilities
from .base import BaseDataDownloader, is_ours, sends_by_machinery
from .foreign import OwnSender, construct, is_packaged, load_offer

_log = logging.getLogger(__name__)
DownloaderT = TypeVar("DownloaderT", bound=BaseDataDownloader)


def canonical_name(code: str) -> str | None:
    """Return the canonical name for a vendor's name or alias; None if the vendor is not available."""
    name = known_vendor(code) if isinstance(code, str) else None
    if name is None or name not in VENDORS:
        return name
    return name if VENDORS[name].bars or VENDORS[name].series else None


def names() -> tuple[str, ...]:
    """Return the canonical names of all vendors: the packaged ones, then those from other packages."""
    return (*SERVED, *offers())


def downloader_class(code: str) -> type[BaseDataDownloader]:
    """Return the class of a vendor, given its name or alias, after importing its module.

    Raises:
        UnknownProviderError: The name is unknown, or the vendor comes from another package
            and cannot be used.
        MissingExtraError: The vendor belongs to a family whose package is not installed.
    """
    name = canonical_name(code)
    if name is None:
        raise UnknownProviderError(f"unknown provider {code!r}", hint=known_hint(code, names()))
    family = family_of(name)
    if not (path := row_of(family).bars or row_of(family).series):
        return cast("type[BaseDataDownloader]", load_offer(PROVIDERS, name, _class_objection))
    cls: Any = load(path)
    return cast("type[BaseDataDownloader]", cls if name == family else cls.member(name))


def usable_class(code: str) -> type[BaseDataDownloader] | None:
    """Return the class of a vendor, or None if the vendor is unknown or cannot be used."""
    try:
        return downloader_class(code)
    except (UnknownProviderError, MissingExtraError):
        return None


def _class_objection(name: object, cls: Any) -> str:
    """Return why another package's class cannot be the vendor called ``name``; empty if it can."""
    if not isinstance(cls, type) or not issubclass(cls, BaseDataDownloader):
        return "it is not a subclass of BaseDataDownloader"
    return _objection(name, cls)


def _objection(name: object, cls: Any) -> str:
    """Return why a class cannot be the vendor called ``name``; empty if it can."""
    if reason := wrong_capabilities(cls.capabilities):
        return f"its `capabilities` {reason}"
    return "" if cls.name == name else f"its `name` is {cls.name!r}, not {name!r}"


def _construct(cls: type[BaseDataDownloader], arguments: Mapping[str, Any]) -> BaseDataDownloader:
    """Create a downloader, check that it still matches its class's declarations, and return it.

    Raises:
        ForeignError: A constructor from another package returned an unsuitable object.
        DataError: See :func:`construct`.
    """
    downloader = construct(cls, arguments, cls.name)
    if is_packaged(downloader):
        return downloader
    reason = "" if isinstance(downloader, cls) else f"it returned a {type(downloader).__name__:.40}"
    if not reason and is_ours(downloader) and "_accounts" not in vars(downloader):
        reason = "it did not call BaseDataDownloader.__init__"
    if reason := reason or _objection(cls.name, downloader):
        raise ForeignError(f"the constructor of {cls.name} failed: {reason}", provider=cls.name)
    return downloader


def register(cls: type[DownloaderT]) -> type[DownloaderT]:
    """Register a class defined in this program, such as in a notebook, as a vendor, and return it.

    Examples:
        >>> vendor = register(AcmeDataDownloader)  # a subclass of BaseDataDownloader
        >>> vendor.name
        'acme'

    Until the process ends, the class can be used by its ``name`` like a vendor from an installed
    package: in ``provider=``, in rules that are read afterwards, and in `get_provider_selector`.
    After changing the class, register it again: every manager uses the new class from its next call
    onward. Thread-safe; it can be used as a decorator.

    Args:
        cls: Subclass of :class:`BaseDataDownloader` with a ``name`` that no other vendor has.

    Raises:
        ConfigError: The value is not such a class, or its name is not available.
    """
    name = getattr(cls, "name", None)
    if reason := _class_objection(name, cls):
        raise ConfigError(f"{cls!r:.80} cannot be registered: {reason}")
    add_offer(name, cls)
    _forget(cls.name)
    return cls


def forget_registered(base: type) -> None:
    """Drop the registered classes that are subclasses of ``base``, and their downloaders."""
    _forget(*forget_offers(base))


def _forget(*names: str) -> None:
    for pool in list(_POOLS):
        for name in names:
            pool.forget(name)


@dataclass(frozen=True)
class ProviderSpec:
    """The declaration of one vendor, as listed by the factory."""

    canonical: str
    display_name: str
    cls: type[BaseDataDownloader]
    aliases: tuple[str, ...]
    requires_api_key: bool


class _Codes(Mapping[str, str]):
    """Maps names and aliases to canonical names; vendors in installed packages are looked up each time."""

    def __getitem__(self, code: str) -> str:
        return self._all()[code]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def _all(self) -> dict[str, str]:
        return {code: name for name in names() for code in (name, *row_of(name).aliases)}


class DataDownloaderFactory:
    """Creates downloaders by canonical name or alias, ignoring case. Thread-safe.

    Attributes:
        PROVIDER_MAP: Maps each name and alias to its canonical name.
    """

    PROVIDER_MAP: ClassVar[Mapping[str, str]] = _Codes()

    @staticmethod
    def create_downloader(provider_code: str, **kwargs: Any) -> BaseDataDownloader | None:
        """Return a new downloader, or None if the vendor does not exist or its creation fails.

        The reason for a failure is logged. ``kwargs`` are passed to the vendor's constructor.
        """
        try:
            cls = downloader_class(provider_code)
            return _construct(cls, kwargs)
        except DataError as exc:
            # The packaged rules include vendors for which most users have no key.
            level = logging.INFO if isinstance(exc, MissingCredentialsError) else logging.WARNING
            _log.log(level, "no downloader for %r: %s", provider_code, exc)
            return None

    @staticmethod
    def get_supported_providers() -> list[str]:
        """Return all names and aliases of vendors."""
        return list(DataDownloaderFactory.PROVIDER_MAP)

    @staticmethod
    def get_provider_by_code(provider_code: str) -> str | None:
        """Return the canonical name for a name or alias, or None if it is unknown."""
        return canonical_name(provider_code)

    @staticmethod
    def list_providers() -> list[str]:
        """Return the canonical names of all vendors."""
        return list(names())

    @staticmethod
    def get_provider_info() -> dict[str, dict[str, Any]]:
        """Return a dict with ``codes``, ``name`` and ``requires_api_key`` for each canonical name.

        A vendor from another package that cannot be used is left out.
        """
        usable = (name for name in names() if usable_class(name) is not None)
        specs = map(DataDownloaderFactory.get_spec, usable)
        return {
            spec.canonical: {
                "codes": [spec.canonical, *spec.aliases],
                "name": spec.display_name,
                "requires_api_key": spec.requires_api_key,
            }
            for spec in specs
        }

    @staticmethod
    def get_spec(provider_code: str) -> ProviderSpec:
        """Return a vendor's declaration.

        Raises:
            UnknownProviderError: The vendor does not exist or cannot be used.
        """
        cls = downloader_class(provider_code)
        return ProviderSpec(
            cls.name, cls.display_name, cls, row_of(cls.name).aliases, cls.requires_api_key
        )


# --- downloaders created from the rules, and those that cannot be created -----------------------

# All pools of the process: re-registering a class replaces the downloaders built from its last
# version.
_POOLS: WeakSet[DownloaderPool] = WeakSet()


class DownloaderPool:
    """Creates downloaders from one set of rules. Not thread-safe: callers must hold a lock.

    If a downloader cannot be created, the reason is logged once, and creation is not tried again
    until one of its keys is set or removed. A downloader from this pool whose key has been removed
    is unavailable until the key is set again.

    Args:
        rules: Settings of each vendor.
        make_sender: Function that returns the sender for a vendor; None for the sender that the
            process shares.
    """

    def __init__(self, rules: Rules, make_sender: Callable[[str], Any] | None) -> None:
        self._rules = rules
        self._make_sender = make_sender
        self._arguments: dict[str, dict[str, Any]] = {}
        self._variables: dict[str, frozenset[str]] = {}
        self._refused: dict[str, tuple[Any, ...]] = {}
        self._made: list[BaseDataDownloader] = []
        # The mapping that the pool fills: one per selector, which has one pool.
        self._filled: list[dict[str, Any]] = []
        _POOLS.add(self)

    def supply(self, name: str, downloaders: dict[str, Any]) -> Any | None:
        """Return the downloader for a vendor or alias, or None if none can be created now.

        Args:
            name: Name or alias of the vendor.
            downloaders: Existing downloaders by name; a new one is added under ``name`` and under
                the canonical name.
        """
        code = canonical_vendor(name) or name
        self._filled[:] = [downloaders]
        downloader = downloaders.get(code, downloaders.get(name))
        if is_of_files(code) and self._has_moved(downloader):
            self._made = [made for made in self._made if made is not downloader]
            downloader = None
            for key in (code, name):
                downloaders.pop(key, None)
        if downloader is None:
            downloader = self._make(code)
        if downloader is None or self.is_out(downloader):
            return None
        downloaders.setdefault(code, downloader)
        downloaders.setdefault(name, downloader)
        return downloader

    def variables(self, name: str) -> frozenset[str]:
        """Return the environment variables that affect :meth:`supply` for a vendor or alias."""
        code = canonical_vendor(name) or name
        if code not in self._variables:
            credentials = self._arguments_for(code).get("credentials")
            cls = usable_class(code)
            variables = credentials_for(cls.secrets).variables if cls is not None else frozenset()
            self._variables[code] = variables | (
                credentials.variables if credentials is not None else frozenset()
            )
        return self._variables[code]

    def forget(self, code: str) -> None:
        """Discard the downloader that this pool created for a vendor, and facts derived from its class."""
        for downloaders in self._filled:
            if any(made is downloaders.get(code) for made in self._made):
                downloaders.pop(code, None)
        self._arguments.pop(code, None)
        self._variables.pop(code, None)

    def remove_made(self, downloaders: dict[str, Any]) -> None:
        """Remove the downloaders that this pool created from ``downloaders``; others are kept."""
        for name, current in list(downloaders.items()):
            if any(current is made for made in self._made):
                del downloaders[name]

    def is_out(self, downloader: object) -> bool:
        """Return whether ``downloader`` was created by this pool and needs a key that is no longer set."""
        return any(made is downloader and is_ours(made) and made.lacking for made in self._made)

    def _has_moved(self, downloader: Any) -> bool:
        """Return whether this pool created the downloader and its folder's path now leads elsewhere."""
        return any(made is downloader for made in self._made) and not downloader.is_there

    def _make(self, code: str) -> Any | None:
        arguments = self._arguments_for(code)
        state = (program_offer(code), tuple(arguments.get("credentials", ())))
        if self._refused.get(code) == state:
            return None
        new = self._new(code, dict(arguments))
        if new is None and not row_of(family_of(code)).of_folders:  # a folder may still be created
            self._refused[code] = state
        if new is not None:
            self._made.append(new)
        return new

    def _arguments_for(self, code: str) -> dict[str, Any]:
        if code not in self._arguments:
            self._arguments[code] = constructor_arguments(self._rules.provider(code))
        return self._arguments[code]

    def _new(self, code: str, arguments: dict[str, Any]) -> Any | None:
        """Return a new downloader, or None if it cannot be created; the reason is logged."""
        family = family_of(code)
        row = row_of(family)
        is_made_here = row.of_folders or row.series or family in names()
        if self._make_sender is not None and is_made_here:
            try:
                arguments["sender"] = self._make_sender(code)
            except (MissingExtraError, UnknownProviderError) as exc:
                _log.warning("%s cannot be queried: %s", code, exc)
                return None
        downloader = DataDownloaderFactory.create_downloader(code, **arguments)
        apply_settling(downloader, self._rules.provider(code))
        return downloader


def constructor_arguments(rules: ProviderRules) -> dict[str, Any]:
    """Return the constructor arguments that the rules set for a vendor."""
    arguments: dict[str, Any] = {}
    if rules.base_url:
        arguments["base_url"] = rules.base_url
    if key_names(rules.name) or rules.api_key_env:
        arguments["credentials"] = vendor_credentials(
            rules.name,
            rules.api_key_env,
            rules.secret_key_env,
            names=own_secrets(rules.name),
            defaults=rules.keys,
        )
    if rules.name == "local":
        arguments["files"] = dict(rules.options)
    if rules.name == "ibkr":
        arguments |= rules.options
    return arguments


def own_secrets(vendor: str) -> tuple[str | tuple[str, ...], ...]:
    """Return the names of the API keys that a vendor from another package declares; otherwise none."""
    cls = None if key_names(vendor) else usable_class(vendor)
    return cls.secrets if cls is not None else ()


def keys_declared(vendor: str) -> tuple[str, ...]:
    """Return the usual names of a vendor's keys, given its canonical name."""
    secrets = own_secrets(vendor)
    return key_names(vendor) or tuple(key if isinstance(key, str) else key[0] for key in secrets)


def apply_settling(downloader: Any, rules: ProviderRules) -> None:
    """Set the settling time of a downloader to the one in the rules, if there is one."""
    if rules.settle_minutes is None or not is_ours(downloader):
        return
    settle_ms = round(rules.settle_minutes * MINUTE_MS)
    downloader.capabilities = replace(downloader.capabilities, settle_ms=settle_ms)


def downloader_for(selector: Any, name: str) -> Any | None:
    """Return a selector's downloader for a vendor, creating it if necessary; None if that fails.

    A downloader for a folder is created again if the vendor's name now leads to a different folder.

    Args:
        selector: This library's selector, or the user's own, which may be unable to create
            downloaders.
        name: Name of the vendor.
    """
    downloader = selector.downloaders.get(name)
    make = getattr(selector, "downloader", None)
    has_moved = is_of_files(name) and not getattr(downloader, "is_there", True)
    return make(name) if (downloader is None or has_moved) and make is not None else downloader


def own_sender(selector: Any, name: str, downloader: Any) -> OwnSender | None:
    """Return a function that creates the sender for the calls to a third-party downloader.

    The sender limits, retries and counts these calls. The result is None if the downloader's
    requests already go through one of this library's senders, or if ``selector`` has no senders.

    Args:
        selector: This library's provider selector, or one that the user wrote.
        name: Name under which the downloader is registered.
        downloader: Downloader from the user or from another package.
    """
    make = getattr(selector, "own_sender", None)
    if make is None or sends_by_machinery(downloader):
        return None
    return partial(make, name, downloader)


def creation_error(selector: Any, name: str) -> DataError | None:
    """Return the error that explains why a selector has no downloader for a vendor.

    The result is None if the selector has a usable downloader for the vendor, or if the reason is
    unknown. A downloader becomes unusable if its key is no longer set.

    Args:
        selector: This library's selector, or the user's own.
        name: Name of the vendor.
    """
    try:
        if not hasattr(selector, "make_sender"):
            return None
        downloader = downloader_for(selector, name)
        lacks_key = isinstance(downloader, BaseDataDownloader) and downloader.lacking
        if downloader is not None and not lacks_key:
            return None
        if canonical_name(name) is None:
            return UnknownProviderError("this version does not support it", hint=install_hint(name))
        cls: Any = downloader_class(name)
        # The selector only logs the reason; creating the downloader again raises it.
        arguments = constructor_arguments(selector.parsed_rules.provider(name))
        if selector.make_sender is not None:
            arguments["sender"] = selector.make_sender(name)
        _construct(cls, arguments)
    except DataError as error:
        return error
    return ConfigError("its setup failed")


def vendor_summary(
    rules: ProviderRules, downloader: Any | None, vendor_class: Any | None = None
) -> dict[str, Any]:
    """Return a summary of a vendor's declarations: in the rules, and in its downloader or class."""
    declared = getattr(vendor_class if downloader is None else downloader, "capabilities", None)
    if not isinstance(declared, Capabilities):  # a downloader from elsewhere declares nothing
        declared = Capabilities(frozenset(), {})
    return {
        "name": rules.title or rules.name,
        "available": downloader is not None,
        "asset_classes": sorted(declared.asset_classes),
        "timeframes": list(declared.timeframes),
        "requires_api_key": rules.api_key_required,
        "rate_limits": dict(rules.rate_limits),
        **rules.facts,
    }
