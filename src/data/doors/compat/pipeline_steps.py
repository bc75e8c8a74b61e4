"""Functions shared by the pipeline's steps, for arguments and reports."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

Step = Callable[[], dict[str, Any]]


def names(texts: Iterable[str] | str | None) -> list[str] | None:
    """Convert a list of names, or a comma-separated string, to a list; None stays None."""
    if texts is None:
        return None
    given = texts.split(",") if isinstance(texts, str) else texts
    return [name.strip() for name in given if name.strip()]


def statistics(
    results: dict[str, dict[str, Any]], began_s: float, *, interrupted: bool
) -> dict[str, Any]:
    """Return statistics about a step: symbols by outcome, errors, and duration in seconds."""
    groups: dict[str, list[str]] = {}
    for name, result in results.items():
        groups.setdefault(result["action"], []).append(name)
    failed = groups.get("failed", [])
    return {
        "total_tickers": len(results),
        "successful_tickers": groups.get("updated", []),
        "skipped_tickers": groups.get("up_to_date", []),
        "failed_tickers": failed,
        "errors": {name: results[name]["error"] for name in failed},
        "processing_time": time.monotonic() - began_s,
        "interrupted": interrupted,
    }


def run_in_order(steps: Mapping[int, Step]) -> dict[str, Any]:
    """Run steps in order, and return the result for ``DataPipelineRunner.run_pipeline``.

    A step fails if it cannot do any of its work. After a failure or Ctrl-C, no further step is
    started.
    """
    started, done = time.monotonic(), dict[int, dict[str, Any]]()
    for number, step in steps.items():
        done[number] = result = _run(step)
        if not result["success"] or result["statistics"]["interrupted"]:
            break
    return {
        "steps_executed": [n for n, result in done.items() if result["success"]],
        "steps_failed": [n for n, result in done.items() if not result["success"]],
        "step_results": {f"step{n}": result for n, result in done.items()},
        "total_duration": time.monotonic() - started,
        "interrupted": any(result["statistics"]["interrupted"] for result in done.values()),
    }


def _run(step: Step) -> dict[str, Any]:
    started, report = time.monotonic(), step()
    results = report["results"].values()
    success = any(result["success"] for result in results)
    why = (
        ""
        if success
        else next((result["error"] for result in results), "no symbol is given or cached")
    )
    return report | {"success": success, "duration": time.monotonic() - started, "error": why}
