"""An older import path of :mod:`onetape.data.observability.prometheus`."""

from .observability.prometheus import (
    HasMetrics,
    MetricsCollector,
    start_exporter,
)

__all__ = (
    "HasMetrics",
    "MetricsCollector",
    "start_exporter",
)
