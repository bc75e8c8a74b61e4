"""The network of one installation: connections, and the limits that all senders keep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .clock import Clock
from .model.capabilities import Limits
from .model.vendors import family_of
from .net.leases import Leases
from .net.limiter import Limiter, Limiters, VendorLimiter
from .net.shared_limiter import SharedLimiter
from .net.state import State
from .policy.quota import limits_of
from .policy.retry import RetryPolicy

if TYPE_CHECKING:
    from .net.circuit import CircuitHook
    from .net.http import HttpTransport
    from .net.sender import Hook, Sender
    from .net.standing import Standing

__all__ = ["Network"]


class Network:
    """The connections and limits of one installation. Thread-safe and fork-aware.

    Args:
        clock: waits and measures for all senders.
        said: limits as they are configured, vendor to keys; a later layer rules.
        retry: how often and how long a vendor is asked again.
        modes: vendor to ``http``, ``sdk`` or ``auto``: what carries its requests.
        on_attempt: told of every HTTP attempt.
        on_circuit: told of every circuit that a call of this process opens or closes.
        state_dir: where limits, circuits and leases lie that hold for all processes; made by the
            first request. Without it this process keeps limits by itself, and no circuits.
    """

    def __init__(
        self, clock: Clock, said: Sequence[Mapping[str, Mapping[str, float]]] = (),
        retry: RetryPolicy | None = None, modes: Mapping[str, str] | None = None,
        on_attempt: Hook | None = None, *, state_dir: Path | None = None,
        on_circuit: CircuitHook | None = None,
    ) -> None:  # fmt: skip
        self._clock = clock
        self._retry = retry
        self._modes = modes or {}
        self._on_attempt = on_attempt
        self._on_circuit = on_circuit
        # Made with the first sender: an answer from the cache needs no HTTP library.
        self._transport: HttpTransport | None = None
        self._said = tuple(said)
        self._state = State(state_dir, clock) if state_dir else None
        self.limiters = Limiters(clock, make=self._new_limiter)

    def sender(self, vendor: str) -> Sender:
        """Return a sender at the pace of ``vendor``; all senders share the connections.

        Raises:
            MissingExtraError: the rules want the vendor's own package, which is not installed.
        """
        from .downloader.registry import downloader_class
        from .net.carriers import choose_transport
        from .net.http import HttpTransport
        from .net.sender import Sender

        self._transport = self._transport or HttpTransport()
        declared = downloader_class(vendor)
        transport = choose_transport(
            self._modes.get(vendor, "auto"), declared.sdk_carrier,
            preferred=declared.prefers_sdk, plain=self._transport,
        )  # fmt: skip
        limiter = self.limiter(vendor)
        return Sender(transport, limiter, self._clock, self._retry, self._on_attempt)

    @property
    def leases(self) -> Leases | None:
        """Leases that hold for all processes, or None where there is no folder for them."""
        return Leases(self._state) if self._state else None

    def standing(self) -> list[Standing]:
        """Return which vendors are left alone just now, and why."""
        from .net.standing import standing

        return standing(self._state) if self._state else []

    def unknown_symbols(self) -> dict[str, int]:
        """Return for how many symbols each vendor is not asked, because it said it knows none."""
        from .net.standing import unknown_symbols

        return unknown_symbols(self._state) if self._state else {}

    def limiter(self, vendor: str) -> Limiter:
        """Return the limiter that all senders to ``vendor`` share."""
        from .downloader.registry import usable_class

        declared = known.limits if (known := usable_class(vendor)) else None
        both = dict.fromkeys((family_of(vendor), vendor))  # what is said of a family goes first
        said = [layer[name] for layer in self._said for name in both if name in layer]
        return self.limiters.of(vendor, limits_of(declared, *said))

    def _new_limiter(self, vendor: str, limits: Limits) -> Limiter:
        from .downloader.registry import usable_class

        known = usable_class(vendor)
        is_asked = known is None or known.default_base_url
        if self._state is None or not is_asked:  # files on this machine know no limits
            return VendorLimiter(vendor, limits, self._clock)
        return SharedLimiter(vendor, limits, self._state, on_circuit=self._on_circuit)
