from __future__ import annotations

import builtins
import urllib.request
from typing import Any

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import CollectorRegistry

from src.data.core.cache.retention.disk_usage import Fill
from src.data.core.observability.metrics import Metrics
from src.data.core.observability.prometheus import MetricsCollector, start_exporter
from src.data.core.runtime.resources import Memory
from src.data.errors import ConfigError, MissingExtraError


class Counted:
    """A manager that has counted a little."""

    def __init__(self) -> None:
        self.counters = counters = Metrics()
        counters.attempted("acme", "ok", 0.4, 100, limit_wait_s=1.5)
        counters.attempted("acme", "UnavailableError", 3.0, 0, retry_wait_s=0.5)
        counters.held_back("acme", 0.25)
        counters.reshaped("acme", ["new", "new", "retyped"], 1)
        counters.answered(500, 0.01, is_hit=True)
        counters.answered(100, 5.0, is_hit=False)
        counters.failed("AllProvidersFailedError")
        counters.scored("acme", 0.9)
        counters.troubled(gaps=2, flagged=1)
        counters.count_event("FellBack")

    def metrics(self) -> dict[str, Any]:
        taken = {"cache": Fill(bytes=7, files=2, packed_bytes=10, plain_bytes=41, bars=9).to_json(),
                 "process": Memory(used=5).to_json() | {"cpu_seconds": 2.5, "cpu_percent": 40.0}}  # fmt: skip
        levels = {"places cache": 2, "vendors acme": 0}
        return self.counters.snapshot() | taken | {"checks": levels, "vendor_days": {"acme": 3}}


Key = tuple[str, frozenset[str | float]]


def samples(text: str) -> dict[Key, float]:
    """Read the text as Prometheus does: name and label values to value."""
    return {
        _key(sample.name, tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def _number(label: str) -> str | float:
    """Return an edge as a number: versions write it differently."""
    try:
        return float(label)
    except ValueError:
        return label


def _key(name: str, labels: tuple[str, ...]) -> Key:
    return name, frozenset(_number(label) for label in labels)


def test_the_text_format_contains_the_counts() -> None:
    registry = CollectorRegistry()
    MetricsCollector(Counted(), registry)
    text = generate_latest(registry).decode()
    found = samples(text)
    expected = {
        ("onetape_vendor_requests_total", ("acme", "ok")): 1,
        ("onetape_vendor_requests_total", ("acme", "UnavailableError")): 1,
        ("onetape_vendor_received_bytes_total", ("acme",)): 100,
        ("onetape_vendor_wait_seconds_total", ("acme", "limit")): 1.75,
        ("onetape_vendor_wait_seconds_total", ("acme", "retry")): 0.5,
        ("onetape_vendor_pauses_total", ("acme",)): 0,
        ("onetape_vendor_held_back_total", ("acme",)): 1,
        ("onetape_vendor_shape_changes_total", ("acme", "new")): 1,
        ("onetape_vendor_shape_changes_total", ("acme", "missing")): 0,
        ("onetape_vendor_shape_changes_total", ("acme", "retyped")): 1,
        ("onetape_vendor_request_seconds_count", ("acme",)): 2,
        ("onetape_vendor_request_seconds_sum", ("acme",)): 3.4,
        ("onetape_vendor_request_seconds_bucket", ("acme", "0.25")): 0,
        ("onetape_vendor_request_seconds_bucket", ("acme", "0.5")): 1,
        ("onetape_vendor_request_seconds_bucket", ("acme", "4.0")): 2,
        ("onetape_vendor_request_seconds_bucket", ("acme", "+Inf")): 2,
        ("onetape_answers_total", ("true",)): 1,
        ("onetape_answers_total", ("false",)): 1,
        ("onetape_failed_calls_total", ("AllProvidersFailedError",)): 1,
        ("onetape_rows_total", ()): 600,
        ("onetape_answer_seconds_count", ()): 2,
        ("onetape_quality_score", ("acme",)): 0.9,
        ("onetape_troubles_total", ("gaps",)): 2,
        ("onetape_events_total", ("FellBack",)): 1,
        ("onetape_cache_bytes", ()): 7,
        ("onetape_cache_compression_ratio", ()): 4.1,
        ("onetape_cache_bars", ()): 9,
        ("onetape_process_memory_used_bytes", ()): 5,
        ("onetape_process_cpu_seconds_total", ()): 2.5,
        ("onetape_process_cpu_percent", ()): 40.0,
        ("onetape_vendor_days_lacking", ("acme",)): 3,
        ("onetape_check", ("places cache",)): 2,
        ("onetape_check", ("vendors acme",)): 0,
    }
    assert {key: found.get(_key(*key)) for key in expected} == expected
    assert "# TYPE onetape_process_cpu_seconds_total counter" in text
    assert "peak" not in text, "what nobody tells is left out"


def test_an_exporter_serves_metrics_until_stopped(free_port: int) -> None:
    stop = start_exporter(Counted(), free_port)
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{free_port}/metrics", timeout=5) as answer:
            found = samples(answer.read().decode())
        assert found[_key("onetape_rows_total", ())] == 600
        with pytest.raises(ConfigError, match=f"127.0.0.1:{free_port}"):
            start_exporter(Counted(), free_port)
    finally:
        stop()
    start_exporter(Counted(), free_port)()


@pytest.fixture
def free_port() -> int:
    """Return a port that nobody uses just now."""
    import socket

    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        return int(door.getsockname()[1])


def test_a_port_that_there_is_not() -> None:
    with pytest.raises(ConfigError, match="65536"):
        start_exporter(Counted(), 65_536)


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("prometheus_client"):
            raise ImportError(f"No module named {name!r}")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    for attempt in (lambda: MetricsCollector(Counted()), lambda: start_exporter(Counted(), 0)):
        with pytest.raises(MissingExtraError, match=r"pip install .*\[metrics\]"):
            attempt()
