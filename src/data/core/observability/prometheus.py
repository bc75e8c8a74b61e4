"""A data manager's counters for Prometheus; needs the ``metrics`` extra.

::

    from onetape import get_data_manager
    from onetape.jobs import start_exporter

    stop = start_exporter(get_data_manager(), 9464)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from ...errors import ConfigError, MissingExtraError, install_line

if TYPE_CHECKING:
    from prometheus_client.core import Metric
    from prometheus_client.registry import CollectorRegistry

__all__ = ["HasMetrics", "MetricsCollector", "exposition", "start_exporter"]

_PREFIX = "onetape"
_LAST_PORT = 65_535
# Values of ``cache`` and ``process`` that are exported as counters; the others are gauges.
_ONLY_GROW = frozenset({"cpu_seconds"})


class HasMetrics(Protocol):
    """Any object with a data manager's counters."""

    def metrics(self) -> Mapping[str, Any]:
        """Return the counters as a JSON-serializable mapping."""


class MetricsCollector:
    """Reads the counters of one manager each time it is scraped. Thread-safe.

    Args:
        manager: Manager whose counters are read.
        registry: Registry to register with; None if the caller does that.

    Raises:
        MissingExtraError: The package ``prometheus_client`` is not installed.
    """

    def __init__(self, manager: HasMetrics, registry: CollectorRegistry | None = None) -> None:
        self._core = _core()
        self._manager = manager
        if registry is not None:
            registry.register(self)

    def describe(self) -> list[Metric]:
        """Return an empty list, because registering must not scan the cache."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield every metric with its current values."""
        figures = self._manager.metrics()
        yield from self._vendor_metrics(figures["vendors"])
        yield from self._call_metrics(figures["calls"])
        yield from self._quality_metrics(figures["quality"], figures["events"])
        for part in ("cache", "process"):
            yield from self._gauges(part, figures[part])
        lacking, text = (
            figures.get("vendor_days", {}),
            "Sessions that a vendor lacks for most symbols",
        )
        yield self._labelled("vendor_days_lacking", text, "vendor", lacking)
        text = "Checks of onetape doctor: 0 ok, 1 a note, 2 something to fix"
        yield self._labelled("check", text, "name", figures.get("checks", {}))
        yield from self._host_metrics(figures.get("hosts"))

    def _host_metrics(self, host: Mapping[str, Any] | None) -> Iterator[Metric]:
        """Yield this host's metrics as one of several hosts; nothing if they do not share a store."""
        if host is None:
            return
        gauge = self._core.GaugeMetricFamily
        state = {host["state"]: 1}
        yield self._labelled("host_state", "1 for the present state", "state", state)
        text = "1 if vendors' limits count the requests of all hosts"
        yield gauge(f"{_PREFIX}_host_limits_shared", text, value=host["limits"] == "all hosts")
        for name in ("series_behind", "changes_behind"):
            noun = name.partition("_")[0].capitalize()
            text = f"{noun} of the shared store that this host does not show yet"
            yield gauge(f"{_PREFIX}_host_{name}", text, value=host[name])
        sent = self._counter("host_statements", "Statements sent to the shared store")
        sent.add_metric([], host["statements"])
        yield sent

    def _vendor_metrics(self, vendors: Mapping[str, Any]) -> Iterator[Metric]:
        requests = self._counter("vendor_requests", "HTTP attempts", "vendor", "outcome")
        received = self._counter("vendor_received_bytes", "Decoded bytes received", "vendor")
        waited = self._counter("vendor_wait_seconds", "Time spent waiting", "vendor", "reason")
        pauses = self._counter(
            "vendor_pauses", "Times that the vendor requested a slower rate", "vendor"
        )
        held_back = self._counter(
            "vendor_held_back", "Requests held back by this library's limiter", "vendor"
        )
        shapes = self._counter(
            "vendor_shape_changes", "Answers with an unknown structure", "vendor", "change"
        )
        seconds = self._histogram("vendor_request_seconds", "Duration of an attempt", "vendor")
        for name, vendor in vendors.items():
            for outcome, count in vendor["outcomes"].items():
                requests.add_metric([name, outcome], count)
            for reason, wait in vendor["waits"].items():
                waited.add_metric([name, reason], wait["seconds"])
            received.add_metric([name], vendor["bytes"])
            pauses.add_metric([name], vendor["pauses"])
            held_back.add_metric([name], vendor["held_back"])
            for change, count in vendor["shape_changes"].items():
                shapes.add_metric([name, change], count)
            _add_timings(seconds, [name], vendor["seconds"])
        yield from (requests, received, waited, pauses, held_back, shapes, seconds)

    def _call_metrics(self, calls: Mapping[str, Any]) -> Iterator[Metric]:
        answers = self._counter("answers", "Calls answered", "hit")
        answers.add_metric(["true"], calls["hits"])
        answers.add_metric(["false"], calls["answers"] - calls["hits"])
        failures = self._counter("failed_calls", "Calls that ended with an error", "error")
        for error, count in calls["failed"].items():
            failures.add_metric([error], count)
        rows = self._counter("rows", "Bars returned")
        rows.add_metric([], calls["rows"])
        seconds = self._histogram("answer_seconds", "Duration of an answered call")
        _add_timings(seconds, [], calls["seconds"])
        yield from (answers, failures, rows, seconds)

    def _quality_metrics(
        self, quality: Mapping[str, Any], events: Mapping[str, int]
    ) -> Iterator[Metric]:
        text = "Quality of a vendor's last answer, 0 to 1"
        yield self._labelled("quality_score", text, "vendor", quality["scores"])
        problems = self._counter("troubles", "Incomplete answers, their gaps, bad rows", "kind")
        for problem in ("incomplete", "gaps", "flagged"):
            problems.add_metric([problem], quality[problem])
        validated = self._counter("series_validated", "Stored series validated", "below_minimum")
        validated.add_metric(["true"], quality["below_minimum"])
        validated.add_metric(["false"], quality["validated"] - quality["below_minimum"])
        counter = self._counter("events", "Events by name", "event")
        for name, count in events.items():
            counter.add_metric([name], count)
        yield from (problems, validated, counter)

    def _gauges(self, part: str, values: Mapping[str, Any]) -> Iterator[Metric]:
        for name, value in values.items():
            if value is None:
                continue
            title = f"{part}: {name.replace('_', ' ')}"
            if name in _ONLY_GROW:
                grown = self._counter(f"{part}_{name}", title)
                grown.add_metric([], value)
                yield grown
            else:
                yield self._core.GaugeMetricFamily(f"{_PREFIX}_{part}_{name}", title, value=value)

    def _labelled(self, name: str, what: str, label: str, values: Mapping[str, float]) -> Metric:
        gauge: Metric = self._core.GaugeMetricFamily(f"{_PREFIX}_{name}", what, labels=[label])
        for key, value in values.items():
            gauge.add_metric([key], value)
        return gauge

    def _counter(self, name: str, what: str, *labels: str) -> Any:
        return self._core.CounterMetricFamily(f"{_PREFIX}_{name}", what, labels=labels)

    def _histogram(self, name: str, what: str, *labels: str) -> Any:
        return self._core.HistogramMetricFamily(f"{_PREFIX}_{name}", what, labels=labels)


def exposition(manager: HasMetrics) -> tuple[bytes, str]:
    """Return a manager's counters in Prometheus' text format, and its media type.

    Raises:
        MissingExtraError: The package ``prometheus_client`` is not installed.
    """
    _core()
    from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

    registry = CollectorRegistry()
    MetricsCollector(manager, registry)
    return generate_latest(registry), CONTENT_TYPE_LATEST


def start_exporter(manager: HasMetrics, port: int, host: str = "127.0.0.1") -> Callable[[], None]:
    """Serve the counters of ``manager`` at ``http://host:port/metrics`` from a thread.

    Every program that can reach the address can read the counters, which contain vendor names and
    numbers, but no symbols or keys.

    Returns:
        A function that stops the server.

    Raises:
        MissingExtraError: The package ``prometheus_client`` is not installed.
        ConfigError: The address cannot be used.
    """
    _core()
    from prometheus_client import start_http_server
    from prometheus_client.registry import CollectorRegistry

    if not 0 <= port <= _LAST_PORT:
        raise ConfigError(f"invalid port number {port}", hint=f"use 0 to {_LAST_PORT}")
    registry = CollectorRegistry()
    MetricsCollector(manager, registry)
    try:
        server, thread = start_http_server(port, host, registry)
    except OSError as exc:
        raise ConfigError(
            f"metrics cannot be served at {host}:{port}: {exc.strerror or exc}",
            hint="choose a free port on this machine",
        ) from exc

    def stop() -> None:
        """Stop the server, free the port, and wait for the thread to end."""
        server.shutdown()
        server.server_close()
        thread.join()

    return stop


def _add_timings(histogram: Any, labels: list[str], timings: Mapping[str, Any]) -> None:
    buckets = [(f"{edge:.9g}", float(count)) for edge, count in timings["buckets"]]
    buckets.append(("+Inf", float(timings["count"])))
    histogram.add_metric(labels, buckets, timings["total"])


def _core() -> Any:
    try:
        from prometheus_client import core
    except ImportError as exc:
        raise MissingExtraError(
            "Prometheus metrics need the `metrics` extra",
            hint=install_line("metrics"),
        ) from exc
    return core
