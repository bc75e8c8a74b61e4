"""Creates an installation's senders and rate limiters: one connection pool, one limiter per vendor."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from ....errors import MissingExtraError, install_line
from ...clock import Clock, SystemClock
from ...config.rules import Rules
from ...config.rules_file import load_rules
from ...config.settings import load_settings
from ...model.request.capabilities import Limits
from ...model.request.settings import Settings
from ...registry import family_of, row_of
from ...runtime.forks import renew_after_fork
from ...runtime.once import cached_property
from ..limits.leases import Leases
from ..limits.limiter import UNKNOWN_VENDOR_LIMITS, Limiter
from ..limits.quota import limits_of
from ..limits.state import AccountState, State
from ..limits.state_tables import Account
from .retry import RetryPolicy

if TYPE_CHECKING:
    from ..limits.guarded_call import CircuitHook
    from .http import HttpTransport, Transport
    from .recordings import Recorder
    from .send_records import Hook
    from .sender import Sender


ShareLimits = Callable[[State], AccountState]
# Number of a custom downloaders whose circuits are remembered; a process has only a few.
_MOST_OWN = 64


class DeclaredVendor(Protocol):
    """The attributes of a vendor's class that are needed to send requests to the vendor.

    Attributes:
        limits: Request limits of the vendor.
        default_base_url: Scheme and host of the vendor's address; empty for files on this machine.
        sdk_carrier, prefers_sdk: See :class:`.BaseDataDownloader`.
    """

    limits: ClassVar[Limits]
    default_base_url: ClassVar[str]
    sdk_carrier: ClassVar[str]
    prefers_sdk: ClassVar[bool]


class Senders:
    """Creates senders that share connections, limits and state. Thread-safe and fork-aware.

    Args:
        clock: Clock for all senders.
        configured: Layers of configured limits, by vendor and setting; a later layer overrides an
            earlier one.
        retry: Number and timing of retries.
        modes: Maps each vendor to the kind of transport for its requests: ``http``, ``sdk`` or
            ``auto``.
        on_attempt: Function called for every HTTP attempt.
        on_circuit: Function called for every circuit that a call in this process opens or closes.
        state_dir: Folder in which limits, circuits and leases are shared by all processes; created
            by the first request. If None, they apply only to this process.
        record_dir: Folder in which every vendor's responses are recorded; None to record nothing.
        share: Function that takes this host's state and returns the state that several hosts share;
            None if this host does not share its limits.
    """

    def __init__(
        self,
        clock: Clock,
        configured: Sequence[Mapping[str, Mapping[str, float]]] = (),
        retry: RetryPolicy | None = None,
        modes: Mapping[str, str] | None = None,
        on_attempt: Hook | None = None,
        *,
        state_dir: Path | None = None,
        on_circuit: CircuitHook | None = None,
        record_dir: Path | None = None,
        share: ShareLimits | None = None,
    ) -> None:
        self._record_dir = record_dir
        self._clock = clock
        self._retry = retry
        self._modes = modes or {}
        self._on_attempt = on_attempt
        self._on_circuit = on_circuit
        # Created with the first sender: an answer from the cache needs no HTTP library.
        self._transport: HttpTransport | None = None
        self._configured = tuple(configured)
        self.state = State(state_dir, clock) if state_dir else None
        self._memory = State(None, clock)
        state_here = self.state or self._memory
        self.accounts: AccountState = share(state_here) if share else state_here
        self._lost_hosts: dict[str, float] = {}
        # Maps the name and id of a custom downloader to it and its limiter. The downloader
        # is kept alive so that no other object gets its id.
        self._own: dict[tuple[str, int], tuple[object, Limiter]] = {}

    def sender(self, vendor: str, declared: type[DeclaredVendor]) -> Sender:
        """Return a sender that obeys the limits of ``vendor``; all senders share their connections.

        Raises:
            MissingExtraError: The rules require the vendor's own package, which is not installed.
        """
        from .http import HttpTransport
        from .sender import Sender

        self._transport = self._transport or HttpTransport()
        mode = self._modes.get(vendor, "auto")
        transport = choose_transport(mode, declared, http=self._transport)
        limiter = self.limiter(vendor, declared)
        hook, recorder, hosts = self._on_attempt, self._recorder, self._lost_hosts
        return Sender(transport, limiter, self._clock, self._retry, hook, recorder, hosts)

    @cached_property
    def _recorder(self) -> Recorder | None:
        """The recorder of all vendors' responses, or None if they are not recorded."""
        if self._record_dir is None:
            return None
        from .recordings import Recorder  # most programs record nothing

        return Recorder(self._record_dir)

    def own_sender(
        self,
        name: str,
        downloader: object,
        carrier: Transport,
        declared: Limits | None = None,
        keys: Iterable[str] = (),
    ) -> Sender:
        """Return a sender for a downloader supplied by user code.

        If the downloader's limits are known, the limits and circuits apply in all processes to any
        downloader with this name. Otherwise, the downloader is not limited, and its circuits apply
        only to this object.

        Args:
            name: Name under which the downloader is registered.
            downloader: Downloader that is called.
            carrier: Transport that calls the downloader.
            declared: The downloader's own limits, which configured ones override.
            keys: Keys of the account that the downloader uses; empty if unknown.
        """
        from .sender import Sender

        # The packaged rules are about the packaged vendor of that name, which a custom one may not
        # be.
        layers = self._configured if declared else self._configured[-1:]
        limits = limits_of(declared, *(layer[name] for layer in layers if name in layer))
        if limits is None:
            limiter: Limiter = self._own_limiter(name, downloader)
        else:
            shared = self._new_limiter(name, limits, True)
            limiter = shared.acting_for(keys) if (keys := tuple(keys)) else shared
        return Sender(carrier, limiter, self._clock, self._retry, self._on_attempt)

    def _own_limiter(self, name: str, downloader: object) -> Limiter:
        key = name, id(downloader)
        entry = self._own.get(key)
        if entry is None:
            account = Account(name, (os.urandom(8).hex(),))
            limiter = Limiter(name, Limits(), self._memory, account, self._on_circuit)
            entry = self._own.setdefault(key, (downloader, limiter))
            if len(self._own) > _MOST_OWN:
                self._own = {key: entry}
        return entry[1]

    def limiter(
        self, vendor: str, declared: type[DeclaredVendor] | None, own_limits: Limits | None = None
    ) -> Limiter:
        """Return the limiter shared by all senders to ``vendor``.

        Args:
            vendor: Canonical name.
            declared: Class of the vendor; None if it has no class.
            own_limits: Limits to use instead of the vendor's and the configured ones; requests are
                counted together with the requests of the account's other limiters.
        """
        is_remote = declared is None or bool(declared.default_base_url)
        if own_limits is not None:
            return self._new_limiter(vendor, own_limits, is_remote)
        # A family's entry applies to its members; a member's own entry overrides it.
        both = dict.fromkeys((family_of(vendor), vendor))
        layers = [layer[name] for layer in self._configured for name in both if name in layer]
        limits = limits_of(declared.limits if declared else None, *layers) or UNKNOWN_VENDOR_LIMITS
        return self._new_limiter(vendor, limits, is_remote)

    def stream_limiter(self, vendor: str, limits: Limits) -> Limiter:
        """Return the limiter for connections to a vendor's stream, shared by all processes of a user."""
        return Limiter(f"{vendor} stream", limits, self.state or self._memory)

    @property
    def leases(self) -> Leases | None:
        """The leases shared by all processes, or None if there is no folder for them."""
        return Leases(self.state) if self.state else None

    def _new_limiter(self, vendor: str, limits: Limits, is_remote: bool) -> Limiter:
        if not is_remote:
            return Limiter(vendor, limits, self._memory, is_local=True)
        return Limiter(vendor, limits, self.accounts, on_circuit=self._on_circuit)


def wants_package(mode: str, declared: type[DeclaredVendor]) -> bool:
    """Return whether ``mode`` selects the vendor's own package to send requests, if it is installed."""
    prefers = mode == "sdk" or (mode == "auto" and declared.prefers_sdk)
    return prefers and bool(declared.sdk_carrier)


def choose_transport(mode: str, declared: type[DeclaredVendor], *, http: Transport) -> Transport:
    """Return the transport for a vendor's requests.

    Args:
        mode: ``http`` for plain HTTP; ``sdk`` for the vendor's own package; or ``auto`` for the
            package if it is installed and preferred, otherwise plain HTTP.
        declared: Class of the vendor; the carrier class that it names is imported here.
        http: Plain HTTP transport.

    Raises:
        MissingExtraError: ``sdk`` is required but not installed; the hint names the extra.
    """
    if not wants_package(mode, declared):
        return http
    module, _, name = declared.sdk_carrier.partition(":")
    carrier: Any = getattr(import_module(module), name)
    installed = find_spec(carrier.package) is not None
    if mode == "auto":
        light: Transport | None = carrier.light() if installed else None
        return light or http
    if not installed:
        raise MissingExtraError(
            f"transport: sdk needs {row_of(carrier.extra).distribution or carrier.package}",
            hint=f"{install_line(carrier.extra)}, or set transport: http",
        )
    transport: Transport = carrier()
    return transport


def senders_of(
    settings: Settings,
    rules: Rules,
    clock: Clock,
    retry: RetryPolicy | None = None,
    on_attempt: Hook | None = None,
    on_circuit: CircuitHook | None = None,
    share: ShareLimits | None = None,
) -> Senders:
    """Return the senders of an installation, as defined by its settings and rules.

    The disk is not accessed.
    """
    limits = {name: entry.rate_limits for name, entry in rules.providers.items()}
    return Senders(
        clock,
        (limits, settings.rate_limits),
        retry or RetryPolicy.of(rules.failover),
        {name: entry.transport for name, entry in rules.providers.items()},
        on_attempt,
        state_dir=settings.state_dir,
        record_dir=settings.record_dir,
        on_circuit=on_circuit,
        share=share,
    )


class ProcessSenders:
    """Senders for downloaders that user code creates directly. Thread-safe and fork-aware."""

    def __init__(self) -> None:
        # Guards the senders against threads that request them first at the same time.
        self._lock = threading.Lock()
        self._senders: Senders | None = None
        renew_after_fork(self)

    def get(self) -> Senders:
        """Return the senders, which are created from the settings on the first call."""
        with self._lock:
            if self._senders is None:
                settings = load_settings()
                rules = load_rules(settings.rules_path)
                self._senders = senders_of(settings, rules, SystemClock())
            return self._senders

    def after_fork(self) -> None:
        """Start with a new lock."""
        self._lock = threading.Lock()


# The senders of this process, created with the first downloader that user code creates directly.
process_senders = ProcessSenders()


def process_limiter(
    vendor: str, declared: type[DeclaredVendor] | None, own_limits: Limits | None = None
) -> Limiter:
    """Return this process's limiter for ``vendor``; see :meth:`Senders.limiter`."""
    return process_senders.get().limiter(vendor, declared, own_limits)


def process_sender(vendor: str, declared: type[DeclaredVendor]) -> Sender:
    """Return this process's own sender to ``vendor``; see :meth:`Senders.sender`."""
    return process_senders.get().sender(vendor, declared)
