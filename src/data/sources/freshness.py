"""The documented import path of the freshness policies."""

from ..layer.freshness import (
    AlwaysStaleFreshnessPolicy,
    CacheFreshnessPolicy,
    FreshnessPolicyFactory,
    HybridFreshnessPolicy,
    MarketCloseFreshnessPolicy,
    NeverStaleFreshnessPolicy,
    TTLFreshnessPolicy,
)

__all__ = [
    "AlwaysStaleFreshnessPolicy",
    "CacheFreshnessPolicy",
    "FreshnessPolicyFactory",
    "HybridFreshnessPolicy",
    "MarketCloseFreshnessPolicy",
    "NeverStaleFreshnessPolicy",
    "TTLFreshnessPolicy",
]
