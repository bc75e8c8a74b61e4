"""The senders and rate limiters of one installation: one connection pool, one limiter per vendor."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from ..clock import Clock, SystemClock
from ..config.rules import Rules
from ..config.rules_file import load_rules
from ..config.settings import load_settings
from ..errors import MissingExtraError, install_line
from ..forks import renew_after_fork
from ..model.capabilities import Limits
from ..model.settings import Settings
from ..vendors.registry import family_of, row_of
from .leases import Leases
from .limiter import UNKNOWN_VENDOR_LIMITS, Limiter
from .quota import limits_of
from .retry import RetryPolicy
from .state import State
from .state_tables import Account

if TYPE_CHECKING:
    from .guarded_call import CircuitHook
    from .http import HttpTransport, Transport
    from .recordings import Recorder
    from .send_records import Hook
    from .sender import Sender


# Downloaders of a program's own whose circuits are remembered; a program has few.
_MOST_OWN = 64


class Declared(Protocol):
    """The part of a vendor's class that sending to it needs.

    Attributes:
        limits: how often the vendor may be asked.
        default_base_url: scheme and host; empty for files on this machine.
        sdk_carrier, prefers_sdk: see :class:`.BaseDataDownloader`.
    """

    limits: ClassVar[Limits]
    default_base_url: ClassVar[str]
    sdk_carrier: ClassVar[str]
    prefers_sdk: ClassVar[bool]


class Senders:
    """Makes senders that share connections, limits and state. Thread-safe and fork-aware.

    Args:
        clock: waits and measures for all senders.
        configured: limits by vendor and key; a later layer overrides an earlier one.
        retry: how often and how long a vendor is asked again.
        modes: vendor to ``http``, ``sdk`` or ``auto``: what carries its requests.
        on_attempt: told of every HTTP attempt.
        on_circuit: told of every circuit that a call of this process opens or closes.
        state_dir: where limits, circuits and leases lie that hold for all processes; made by the
            first request. Without it they are those of this process.
        record_dir: where every answer of a vendor is written; None: nowhere.
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
    ) -> None:
        self._record_dir = record_dir
        self._clock = clock
        self._retry = retry
        self._modes = modes or {}
        self._on_attempt = on_attempt
        self._on_circuit = on_circuit
        # Made with the first sender: an answer from the cache needs no HTTP library.
        self._transport: HttpTransport | None = None
        self._configured = tuple(configured)
        self.state = State(state_dir, clock) if state_dir else None
        self._memory = State(None, clock)
        # Name and identity of a program's own downloader to it and its limiter. It is kept, so that
        # no other object gets its identity.
        self._own: dict[tuple[str, int], tuple[object, Limiter]] = {}

    def sender(self, vendor: str, declared: type[Declared]) -> Sender:
        """Return a sender at the pace of ``vendor``; all senders share the connections.

        Raises:
            MissingExtraError: the rules want the vendor's own package, which is not installed.
        """
        from .http import HttpTransport
        from .sender import Sender

        self._transport = self._transport or HttpTransport()
        mode = self._modes.get(vendor, "auto")
        transport = choose_transport(mode, declared, plain=self._transport)
        limiter = self.limiter(vendor, declared)
        recorder = self._recorder
        return Sender(transport, limiter, self._clock, self._retry, self._on_attempt, recorder)

    @cached_property
    def _recorder(self) -> Recorder | None:
        """What writes the answers of all vendors, where they are recorded."""
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
        """Return a sender for a downloader that the program brings along.

        Where its limits are known they hold, with its circuits, for its name in all processes. Else
        it is not limited, and circuits are those of this very object.

        Args:
            name: under which it stands among the downloaders.
            downloader: what is asked.
            carrier: asks it.
            declared: limits of its own; over them lie the configured ones.
            keys: of the account that it asks for; none where that is not known.
        """
        from .sender import Sender

        # The packaged rules are about the vendor of that name, which a stranger need not be.
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
        self, vendor: str, declared: type[Declared] | None, own_limits: Limits | None = None
    ) -> Limiter:
        """Return the limiter that all senders to ``vendor`` share.

        Args:
            vendor: canonical name.
            declared: the vendor's class; None for a vendor without one.
            own_limits: limits in place of the vendor's and the configured ones; requests are
                counted together with those of all other limiters of the account.
        """
        is_remote = declared is None or bool(declared.default_base_url)
        if own_limits is not None:
            return self._new_limiter(vendor, own_limits, is_remote)
        # The entry of a family counts for its members; the member's own overrides it.
        both = dict.fromkeys((family_of(vendor), vendor))
        layers = [layer[name] for layer in self._configured for name in both if name in layer]
        limits = limits_of(declared.limits if declared else None, *layers) or UNKNOWN_VENDOR_LIMITS
        return self._new_limiter(vendor, limits, is_remote)

    def stream_limiter(self, vendor: str, limits: Limits) -> Limiter:
        """Return what paces the connecting to a vendor's stream within this process."""
        return Limiter(f"{vendor} stream", limits, self._memory)

    @property
    def leases(self) -> Leases | None:
        """Leases that hold for all processes, or None where there is no folder for them."""
        return Leases(self.state) if self.state else None

    def _new_limiter(self, vendor: str, limits: Limits, is_remote: bool) -> Limiter:
        if not is_remote:
            return Limiter(vendor, limits, self._memory, is_local=True)
        return Limiter(vendor, limits, self.state or self._memory, on_circuit=self._on_circuit)


def wants_package(mode: str, declared: type[Declared]) -> bool:
    """Tell whether the vendor's own package carries its requests under ``mode``, where installed."""
    prefers = mode == "sdk" or (mode == "auto" and declared.prefers_sdk)
    return prefers and bool(declared.sdk_carrier)


def choose_transport(mode: str, declared: type[Declared], *, plain: Transport) -> Transport:
    """Return what carries a vendor's requests.

    Args:
        mode: ``http``; ``sdk``, the vendor's own package; or ``auto``, the package where it is
            installed and preferred, else plain HTTP.
        declared: the vendor's class; what it names as carrier is imported here.
        plain: the HTTP transport.

    Raises:
        MissingExtraError: ``sdk`` is asked for and not installed; the hint names the extra.
    """
    if not wants_package(mode, declared):
        return plain
    module, _, name = declared.sdk_carrier.partition(":")
    carrier: Any = getattr(import_module(module), name)
    installed = find_spec(carrier.package) is not None
    if mode == "auto":
        light: Transport | None = carrier.light() if installed else None
        return light or plain
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
) -> Senders:
    """Return the senders of an installation, by its settings and rules; nothing is made on disk."""
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
    )


class ProcessSenders:
    """The senders of downloaders that a program builds by hand. Thread-safe and fork-aware."""

    def __init__(self) -> None:
        # Guards the senders against threads that ask for them first at once.
        self._lock = threading.Lock()
        self._senders: Senders | None = None
        renew_after_fork(self)

    def get(self) -> Senders:
        """Return the senders, always the same, by the settings at the first call."""
        with self._lock:
            if self._senders is None:
                settings = load_settings()
                rules = load_rules(settings.rules_path)
                self._senders = senders_of(settings, rules, SystemClock())
            return self._senders

    def after_fork(self) -> None:
        """Start with a lock of our own."""
        self._lock = threading.Lock()


# Of this process; made with the first downloader that is built by hand.
process_senders = ProcessSenders()


def process_limiter(
    vendor: str, declared: type[Declared] | None, own_limits: Limits | None = None
) -> Limiter:
    """Return the process's limiter of ``vendor``; see :meth:`Senders.limiter`."""
    return process_senders.get().limiter(vendor, declared, own_limits)


def process_sender(vendor: str, declared: type[Declared]) -> Sender:
    """Return a sender of the process's own to ``vendor``; see :meth:`Senders.sender`."""
    return process_senders.get().sender(vendor, declared)
