"""The outcome of each error: one table, compared with the code that decides.

==================  ===============================================================================
retried             at the same vendor, within its budget: ``RetryPolicy``
next vendor         is queried: the walk over the candidates
circuit             what it means for the vendor's health: ``outcome_of`` and ``CircuitPolicy``
handled by          ``walk``: recorded as an attempt; not raised if another vendor has bars
                    · ``keeper``: raised while storing; the bars are returned anyway
                    · ``caller``: it ends the request
==================  ===============================================================================
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import NamedTuple

import pytest

from src.data import errors
from src.data.core.cache.store import BarStore
from src.data.core.net.http.retry import RetryPolicy
from src.data.core.net.limits.circuit_breaker import Circuit, CircuitPolicy, Outcome, outcome_of
from src.data.errors import DataError
from tests.core.bars.three_vendors import ThreeVendors, vendors_by_hour


class Row(NamedTuple):
    """One row of the table; ``shuts`` is the number of failures that open the circuit, 0 for never."""

    again: bool
    next_vendor: bool
    door: Outcome
    shuts: int
    handled_by: str


_YES, _NO = True, False
_WALK, _CALLER, _KEEPER = "walk", "caller", "keeper"

TABLE = {
    # class                     again  next  door            shuts  handled by
    "DataError":               (_NO,  _NO,  "says nothing",    0,  _CALLER),
    # The caller's mistakes; a vendor that is configured wrongly is one that cannot answer.
    "QueryError":              (_NO,  _NO,  "says nothing",    0,  _CALLER),
    "BadSymbolError":          (_NO,  _NO,  "says nothing",    0,  _CALLER),
    "BadTimeframeError":       (_NO,  _NO,  "says nothing",    0,  _CALLER),
    "BadRangeError":           (_NO,  _NO,  "says nothing",    0,  _CALLER),
    "NoProviderError":         (_NO,  _NO,  "says nothing",    0,  _CALLER),
    "FeatureError":            (_NO,  _NO,  "says nothing",    0,  _CALLER),
    "UniverseError":           (_NO,  _NO,  "says nothing",    0,  _CALLER),
    "ConfigError":             (_NO,  _YES, "says nothing",    0,  _WALK),
    "RulesError":              (_NO,  _YES, "says nothing",    0,  _WALK),
    "MissingCredentialsError": (_NO,  _YES, "says nothing",    0,  _WALK),
    "UnknownProviderError":    (_NO,  _YES, "says nothing",    0,  _WALK),
    "MissingExtraError":       (_NO,  _YES, "says nothing",    0,  _WALK),
    # What vendors do.
    "ProviderError":           (_NO,  _YES, "says nothing",    0,  _WALK),
    "TransientError":          (_YES, _YES, "failing",         5,  _WALK),
    "ProviderTimeoutError":    (_YES, _YES, "failing",         5,  _WALK),
    "UnavailableError":        (_YES, _YES, "failing",         5,  _WALK),
    "ForeignError":            (_NO,  _YES, "failing",         5,  _WALK),
    "RateLimitedError":        (_YES, _YES, "says nothing",    0,  _WALK),
    "RefusedError":            (_NO,  _YES, "refused",         1,  _WALK),
    "EntitlementError":        (_NO,  _YES, "refused",         1,  _WALK),
    "RegionError":             (_NO,  _YES, "refused",         1,  _WALK),
    "AuthenticationError":     (_NO,  _YES, "locked out",      1,  _WALK),
    "UnsupportedError":        (_NO,  _YES, "answered",        0,  _WALK),
    "SymbolNotFoundError":     (_NO,  _YES, "answered",        0,  _WALK),
    "CapabilityError":         (_NO,  _YES, "says nothing",    0,  _WALK),
    "NoDataError":             (_NO,  _YES, "answered",        0,  _WALK),
    "ResponseFormatError":     (_NO,  _YES, "unreadable",      3,  _WALK),
    "QualityError":            (_NO,  _YES, "unreadable",      3,  _WALK),
    "KindMismatchError":       (_NO,  _YES, "answered",        0,  _WALK),
    "SpliceConflictError":     (_NO,  _YES, "answered",        0,  _WALK),
    "CircuitOpenError":        (_NO,  _YES, "says nothing",    0,  _WALK),
    # The answer itself.
    "AllProvidersFailedError": (_NO,  _NO,  "says nothing",    0,  _CALLER),
    # A vendor that asks by a manager of its own says with it that it does not know the symbol.
    "DataProviderError":       (_NO,  _NO,  "says nothing",    0,  _CALLER),
    "UnknownSymbolError":      (_NO,  _YES, "answered",        0,  _WALK),
    "IncompleteDataError":     (_NO,  _NO,  "says nothing",    0,  _CALLER),
    "FeedLagError":            (_NO,  _NO,  "says nothing",    0,  _CALLER),
    # What a portal answers out of bars that are there; it asks by the facade, and no vendor itself.
    "DataPortalError":         (_NO,  _NO,  "says nothing",    0,  _CALLER),
    "NoDataAvailableError":    (_NO,  _NO,  "says nothing",    0,  _CALLER),
    "LookaheadError":          (_NO,  _NO,  "says nothing",    0,  _CALLER),
    # The store.
    "CacheError":              (_NO,  _NO,  "says nothing",    0,  _CALLER),
    "CorruptEntryError":       (_NO,  _NO,  "says nothing",    0,  _KEEPER),
    "LockTimeoutError":        (_NO,  _NO,  "says nothing",    0,  _KEEPER),
    "StorageError":            (_NO,  _NO,  "says nothing",    0,  _KEEPER),
    "LogUnreachableError":     (_NO,  _NO,  "says nothing",    0,  _KEEPER),
    "OvertakenError":          (_NO,  _NO,  "says nothing",    0,  _KEEPER),
    # A file of a newer version is nobody's to go round.
    "FormatVersionError":      (_NO,  _NO,  "says nothing",    0,  _CALLER),
    # Bundles, which no request for bars reads.
    "BundleError":             (_NO,  _NO,  "says nothing",    0,  _CALLER),
    "BundleNotFoundError":     (_NO,  _NO,  "says nothing",    0,  _CALLER),
    "DecimalRangeError":       (_NO,  _NO,  "says nothing",    0,  _CALLER),
    # The database of records; a URL that is configured wrongly is a configuration error too.
    "DatabaseError":           (_NO,  _NO,  "says nothing",    0,  _CALLER),
    "DatabaseUrlError":        (_NO,  _YES, "says nothing",    0,  _WALK),
    "SchemaError":             (_NO,  _NO,  "says nothing",    0,  _CALLER),
}  # fmt: skip

CLASSES = {
    name: found
    for name, found in inspect.getmembers(errors, inspect.isclass)
    if issubclass(found, DataError)
}
ROWS = [pytest.param(CLASSES[name], Row(*row), id=name) for name, row in TABLE.items()]
of_the_table = pytest.mark.parametrize("kind, row", ROWS)


def test_every_error_class_has_a_row_in_the_table() -> None:
    assert TABLE.keys() == CLASSES.keys(), "add a row for the new error"


@of_the_table
def test_the_retry_policy_retries_the_errors_of_the_table(kind: type[DataError], row: Row) -> None:
    wait = RetryPolicy().next_wait(kind("x"), 1, 30.0, 0.0)
    assert (wait is not None) is row.again


@of_the_table
def test_each_error_has_its_outcome_for_the_health_of_the_vendor(
    kind: type[DataError], row: Row
) -> None:
    assert outcome_of(kind("x")) == row.door


@of_the_table
def test_each_error_opens_the_circuit_after_the_number_of_failures_in_the_table(
    kind: type[DataError], row: Row
) -> None:
    policy, circuit, failures = CircuitPolicy(), Circuit(), 0
    while circuit.is_closed and failures < 20:
        failures += 1
        circuit = policy.leave(circuit, outcome_of(kind("x")), 1000.0, trial=False)
    assert (0 if circuit.is_closed else failures) == row.shuts


@of_the_table
def test_each_error_leads_to_the_next_vendor_or_to_the_caller(
    kind: type[DataError], row: Row, tmp_path: Path
) -> None:
    three_vendors = ThreeVendors(tmp_path)

    def ends(*_: object) -> None:
        raise kind("scripted")

    # Without a sender nobody tries again: one question, one end.
    three_vendors.downloaders["a"].fetch = ends
    if row.next_vendor:
        frame = three_vendors.ask()
        assert vendors_by_hour(frame) == "b24"
        noted = "empty" if kind is errors.NoDataError else kind.__name__
        assert frame.attrs["onetape"]["attempts"][0]["outcome"] == noted
    else:
        with pytest.raises(kind, match="scripted"):
            three_vendors.ask()
        assert three_vendors.asked() == ""


@of_the_table
def test_the_flags_of_an_error_agree_with_failover_and_retry(
    kind: type[DataError], row: Row
) -> None:
    assert kind.failover is issubclass(kind, errors.FAILOVER_ERRORS) is row.next_vendor
    assert kind.retry is row.again


@pytest.mark.parametrize(
    "kind, row", [p for p in ROWS if issubclass(p.values[0], errors.CacheError)]
)
def test_bars_are_returned_even_if_the_store_refuses_them(
    kind: type[DataError], row: Row, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    three_vendors = ThreeVendors(tmp_path)

    def refuses(*_: object) -> None:
        raise kind("scripted")

    monkeypatch.setattr(BarStore, "commit", refuses)
    if row.handled_by == _KEEPER:
        frame = three_vendors.ask()
        assert vendors_by_hour(frame) == "a24"
        assert frame.attrs["onetape"]["problems"] == ["not stored: scripted"]
    else:
        with pytest.raises(kind, match="scripted"):
            three_vendors.ask()


def test_errors_that_lead_to_the_next_vendor_are_handled_by_the_walk_over_vendors() -> None:
    assert {row[1]: row[4] for row in TABLE.values() if row[4] != _KEEPER} == {
        True: _WALK, False: _CALLER,
    }  # fmt: skip
