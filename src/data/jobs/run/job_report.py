"""The result of a job: a JSON-serializable dict, which a notebook shows as a table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ...core.model.display.texts import InLines, Line, counted, moment
from ...core.model.request.health import Quota
from ...core.model.stored.coverage import VendorDay
from ...core.model.stored.incident import incidents_of
from ...core.model.stored.lifetime import NO_BARS_SINCE
from ...core.wiring import Services
from ..progress.results import ReasonGroup
from ..vendors.vendors import quotas_of

# Maximum number of series that the title names.
_NAMED = 5


class JobReport(InLines, dict[str, Any]):
    """The report of a job: a dict that prints as lines of text; each job documents its keys.

    Args:
        facts: Contents of the dict.
        ok: See the attribute.

    Attributes:
        ok: Whether the job did all its work, as the job itself decides: the exit code of its command
            is then 0. False if the job was interrupted, if something failed or a series lacks bars,
            or if there was nothing to fill. For a dry run, False if bars would be missing; for a
            comparison, if bars differ.
    """

    def __init__(self, facts: Mapping[str, Any], *, ok: bool) -> None:
        super().__init__(facts)
        self.ok = ok

    @property
    def title(self) -> str:
        """Outcome of the job in one line."""
        return title_of(self)

    def lines(self) -> Iterator[Line]:
        """Yield lines on failures by cause, requests by vendor, incidents, and data about to be lost."""
        for reason in self.get("reasons", ()):
            group = ReasonGroup(reason["why"], reason["series"], reason["next_step"])
            step = f" → {group.next_step}" if group.next_step else ""
            is_end = group.why.startswith(NO_BARS_SINCE)
            label = "failed" if reason["failed"] else "ended" if is_end else "lacking"
            yield label, f"{group}{step}"
        for vendor, counts in requests_by_vendor(self).items():
            remaining = quota_text(self.get("quotas", {}).get(vendor, ()))
            facts = ", ".join(f"{name} {count:,}" for name, count in counts.items())
            yield "requests", f"{vendor}: {facts}{f'; {remaining} left' if remaining else ''}"
        for text in incident_texts(self):
            yield "incident", text
        for name, count in self.get("marked", {}).items():
            yield "marked", f"{name}: {counted(count, 'bar')} certainly wrong"
        for lost in self.get("perishable", ()):
            yield "perishes", perishable_text(lost)

    __str__ = dict.__repr__


def has_no_failure(report: Mapping[str, Any]) -> bool:
    """Return whether a job was not interrupted and nothing failed, according to its report."""
    is_cut = report.get("interrupted") or report.get("failed")
    return not (is_cut or any(group["failed"] for group in report["reasons"]))


def title_of(report: Mapping[str, Any]) -> str:
    """Return the outcome of a job in one line."""
    ended = "interrupted: " if report.get("interrupted") else ""
    return f"{ended}{_outcome(report)}"


def _outcome(report: Mapping[str, Any]) -> str:
    if report.get("dry_run") and isinstance(report.get("requests"), int):
        return f"dry run: {counted(report['requests'], 'request')} in total"
    good = report.get("success", report.get("successful", ()))
    total = len(good) + len(report.get("failed", ()))
    noun = "series" if "success" in report else "symbol"
    new = sum(result.get("fetched", 0) for result in report.get("results", ()))
    text = f"{len(good):,} of {counted(total, noun)} succeeded"
    text += f", {counted(new, 'bar')} fetched" if "success" in report else ""
    return text + never_text(report)


def never_text(report: Mapping[str, Any]) -> str:
    """Return a clause about the series of a job's lists that have never had a bar, or nothing."""
    never = report.get("never", ())
    if not never:
        return ""
    names = list(dict.fromkeys(f"{one['symbol']} ({one['reason']})" for one in never))
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    has = "has" if len(never) == 1 else "have"
    return f"; {len(never):,} {has} never had a bar: {', '.join(names[:_NAMED])}{more}"


def with_quotas(services: Services, report: Mapping[str, Any], *, ok: bool) -> JobReport:
    """Return a job's report with ``quotas`` added: the remaining limits of the vendors it queried.

    ``quotas`` maps each vendor to a list of limits with the keys ``seconds`` (length of the
    window), ``limit``, ``left``.
    """
    selector, now_ms = services.selector, services.clock.now_ms()
    quotas = {
        vendor: [quota.to_json() for quota in quotas_of(selector, vendor, now_ms)]
        for vendor in requests_by_vendor(report)
    }
    return JobReport({**report, "quotas": quotas}, ok=ok)


def requests_by_vendor(report: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    """Map each vendor in a report to its counts, such as sent or planned requests, by name."""
    requests = report.get("requests")
    by_vendor = requests if isinstance(requests, Mapping) else report.get("vendors", {})
    return {
        vendor: {name: count for name, count in counts.items() if isinstance(count, int)}
        for vendor, counts in by_vendor.items()
    }


def quota_text(quotas: Iterable[Mapping[str, float]]) -> str:
    """Return a vendor's remaining limits in one line; empty if no limit is known."""
    each = [Quota(q["seconds"], q["limit"], q["limit"] - q["left"]) for q in quotas]
    return ", ".join(str(quota) for quota in each if quota.length_s > 1)


def incident_texts(report: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each run of consecutive sessions that a vendor lacks."""
    return [
        incident.text
        for incident in incidents_of(map(VendorDay.from_json, report.get("incidents", ())))
    ]


def perishable_text(lost: Mapping[str, Any]) -> str:
    """Return a line about a series' bars or figures that vendors will soon stop serving."""
    name, last, deleted_at = (
        f"{lost['symbol']} {lost['timeframe']}",
        moment(lost["last"]),
        moment(lost["lost"]),
    )
    return f"{name}: no {lost['what']} after {last}; {lost['vendor']} deletes the next one at {deleted_at}"
