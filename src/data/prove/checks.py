"""The proofs: for each promise in the README, the steps, the observations, and the verdict.

Faults are injected from outside, into files, processes and vendors. Answers are compared with the
bars computed by the vendors' formula, and files are read without the library.
"""

from __future__ import annotations

import gzip
import time
import zlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from ..disk.files import Disk
from .market import DAY, HOUR, MINUTE, OPENS, Row, ScriptedVendor
from .stage import NOW_MS, Process, Stage, UnfinishedError

_COIN, _HOURS, _SHARE = "BTCUSDT", "1h", "AAPL"
# 2024-06-03, and the ex-date 2024-06-10.
_MONDAY, _EX_DAY = 1_717_372_800_000, 1_717_977_600_000
_KILLS, _DAYS_EACH = 12, 4
# Places in a file where a bit is flipped, as fractions of its length.
_FLIPS = (0.1, 0.5, 0.9)


class Observation(NamedTuple):
    """The result of carrying out a proof.

    Attributes:
        brief: Step and observation in a few words each, for a line of 100 characters.
        did: Description of the steps, with all details.
        saw: Description of what was observed, with all details.
        broken: Ways in which the promise was broken; empty if it was kept.
    """

    brief: tuple[str, str]
    did: str
    saw: str
    broken: Sequence[str] = ()


class Proof(NamedTuple):
    """A proof: its name, the promise that it tests (as in the README), and its function."""

    name: str
    promise: str
    run: Callable[[Stage], Observation]


def killed(stage: Stage) -> Observation:
    """Kill processes at a dozen moments between a vendor's response and the end of the call."""
    kept: list[int] = []
    broken: list[str] = []
    old = new = in_time = 0
    for number in range(_KILLS):
        first, second = (_MONDAY - (2 * number + n) * DAY for n in (2, 1))
        stage.server.vendors["binance"].answered.clear()
        process = stage.start("ask_each", {"asks": [_day(first), _day(second)]})
        lasted = _after_the_answer(stage, process)
        kept.append(first)
        time.sleep(lasted * number / _KILLS)
        process.kill()
        stage.wait([process])
        in_time += not process.reports
        if stage.is_broken("killed"):
            _cut(_year_file(stage))
        reply = stage.ask(*_day(second), offline=True)
        count = len(reply.get("bars", ()))
        old, new = old + (count == 0), new + (count == 24)
        is_whole = count in (0, 24) and _is_true(reply, second, count)
        broken += _misses((is_whole, f"half of {_date(second)} was stored"))
    broken += _lost_days(stage, kept)
    damaged = _damage(stage, "check")
    broken += _misses((in_time >= _KILLS // 4, "the calls ended before the signal came"))
    did = f"killed {in_time} processes (SIGKILL) between a vendor's answer and the end of the call"
    saw = f"{old} commits were not made, {new} made, none half made; all {len(kept)} days that had "
    saw += "been answered are still there, and no file is damaged"
    brief = f"{in_time} of {_KILLS} processes killed", f"{new} commits made, {old} not, none half"
    return Observation(brief, did, saw, broken + damaged)


def flipped_bit(stage: Stage) -> Observation:
    """Flip one bit at a time in each file of a series, and request the bars after each."""
    stage.ask(*_day(_MONDAY))
    lane, binance = _year_file(stage).parent, stage.server.vendors["binance"]
    names = [path.name for path in sorted(lane.iterdir()) if path.is_file() and path.stat().st_size]
    broken: list[str] = []
    flips = [(lane / name, share) for name in names for share in _FLIPS]
    for path, share in flips:
        if path.is_file():  # a damaged file may have been moved to the quarantine
            _flip(path, share)
        if stage.is_broken("flipped-bit"):
            binance.refusals, binance.refuses_always = [(451, {})], True
        is_true = _is_true(stage.ask(*_day(_MONDAY)), _MONDAY, 24)
        broken += _misses((is_true, f"wrong bars after {path.name} was damaged at {share:.0%}"))
    asked = len(stage.server.asked("binance")) - 1
    did = f"flipped a bit at {len(flips)} places in the files of a series ({', '.join(names)})"
    saw = f"every answer had the 24 true bars; {asked} times they were fetched again; "
    saw += "after a repair, no file is damaged"
    brief = f"a bit flipped at {len(flips)} places", "all answers true, files repaired"
    return Observation(brief, did, saw, broken + _damage(stage, "repair"))


def two_writers(stage: Stage) -> Observation:
    """Have two processes write the same days of a series while four others share only the folder."""
    common = [_MONDAY + n * DAY for n in range(_DAYS_EACH)]
    dates = [[_MONDAY - (2 * n + first) * DAY for n in range(_DAYS_EACH)] for first in (2, 3)]
    work = [[day for both in zip(mine, common, strict=True) for day in both] for mine in dates]
    alone = [
        [_MONDAY - (20 + 4 * n + number) * DAY for n in range(_DAYS_EACH)] for number in range(4)
    ]
    calls: list[dict[str, Any]] = [{"asks": [*map(_day, days)]} for days in (*work, *alone)]
    for number, call in enumerate(calls[len(work) :]):
        # Without a common state folder they have no leases in common, only the lock of the series.
        call["state"] = str(stage.cache.with_name(f"state{number}"))
    other = stage.cache.with_name("other") if stage.is_broken("two-writers") else None
    writers = [
        stage.start("ask_each", call, cache=other if call is calls[-1] else None) for call in calls
    ]
    stage.wait(writers)
    broken = [
        report["text"] for writer in writers for report in writer.reports if "error" in report
    ]
    days = sorted({day for days in (*work, *alone) for day in days})
    broken += _lost_days(stage, days)
    starts = [
        int(request.params["startTime"]) for request in stage.server.asked("binance", "api/v3")
    ]
    broken += _misses(*((starts.count(d) == 1, f"{_date(d)} was requested twice") for d in days))
    did = (
        f"two processes wrote {3 * _DAYS_EACH} days of a series, {_DAYS_EACH} of them both, while "
    )
    did += f"{len(alone)} processes that share only the cache each wrote {_DAYS_EACH} other days"
    saw = f"all {len(days)} days are there, each was requested once, and no file is damaged"
    brief = f"{len(writers)} writers", f"all {len(days)} days there, each fetched once"
    return Observation(brief, did, saw, broken + _damage(stage, "check"))


def hole(stage: Stage) -> Observation:
    """Let a vendor lack two hours that another vendor has at different prices, and add them later."""
    lacks = frozenset({_MONDAY + 5 * HOUR, _MONDAY + 6 * HOUR})
    binance, yahoo = stage.server.vendors["binance"], stage.server.vendors["yahoo"]
    if stage.is_broken("hole"):
        binance.twist = lambda row: yahoo.true(HOUR, row.at, NOW_MS) if row.at in lacks else row
    else:
        binance.lacks = lacks
    answer = stage.ask(*_day(_MONDAY))
    gaps = [
        f"{gap['start'][11:16]} to {gap['end'][11:16]} ({gap['reason']})"
        for gap in _provenance(answer)["gaps"]
    ]
    stage.server.heal()
    stage.set_time(NOW_MS + 7 * HOUR)
    again = stage.ask(*_day(_MONDAY), strict=True)
    spans = {
        (request.vendor, int(request.params["startTime"]), int(request.params["endTime"]) + 1)
        for request in stage.server.asked("binance", "api/v3")
    }
    wants = [row for row in _hours(_MONDAY) if row.at not in lacks]
    broken = _misses(
        (_bars(answer) == wants, "the answer contains bars of the other vendor"),
        (len(gaps) == 1 and bool(answer["warnings"]), "the gap was not reported"),
        (_is_true(again, _MONDAY, 24), "the gap was not filled afterwards"),
        (spans == {("binance", min(lacks), max(lacks) + HOUR)}, "other hours were requested too"),
    )
    did = "a vendor lacked two hours that another has at other prices; hours later it had them"
    saw = f"22 bars of the first vendor, none of the other; gap listed: {'; '.join(gaps)}; "
    saw += "later only these two hours were requested, and the day was complete"
    return Observation(("a vendor lacked 2 hours", "gap listed, later filled"), did, saw, broken)


def half_bar(stage: Stage) -> Observation:
    """Request hourly bars before the latest hour has closed, and again afterwards."""
    hour, binance = NOW_MS // HOUR * HOUR, stage.server.vendors["binance"]
    today = [_COIN, _HOURS, _date(hour), "now"]
    running = _bars(stage.ask(*today, include_forming=True))
    first, stored = stage.ask(*today), _stored_times(stage)
    half, closed = (binance.true(HOUR, hour, at) for at in (NOW_MS, hour + HOUR))
    stage.set_time(hour + HOUR + 10 * MINUTE)
    if stage.is_broken("half-bar"):
        binance.twist = lambda row: half if row.at == hour else row
    later = {row.at: row for row in _bars(stage.ask(*today))}
    broken = _misses(
        (running[-1:] != [] and running[-1].at == hour, "the vendor did not send the forming bar"),
        (hour not in {row.at for row in _bars(first)}, "the forming bar was in the answer"),
        (_text(hour) not in stored, "the forming bar was stored"),
        (later.get(hour) == closed, "the closed hour is not the true one"),
        (_text(hour) in _stored_times(stage), "the closed hour was not stored"),
    )
    did = "a vendor sent the bar of an hour 20 minutes after its open, and again after its close"
    saw = (
        "the forming bar was in an answer only on request (include_forming=True), and never in the "
    )
    saw += "file; after its close the complete bar was fetched "
    saw += f"(volume {closed.volume:g}, not {half.volume:g}) and stored"
    brief = "a bar sent before its close", "stored only afterwards, and complete"
    return Observation(brief, did, saw, broken)


def split(stage: Stage) -> Observation:
    """Fetch the daily bars before a split, and the bars after it once the split is known."""
    share, start = stage.server.vendors["share"], _MONDAY - 14 * DAY
    until, last = _EX_DAY - 4 * DAY, _EX_DAY + 11 * DAY
    stage.set_time(_EX_DAY - 3 * DAY)
    share.split = (4, _EX_DAY + OPENS, False)
    before = _bars(stage.ask(_SHARE, "1d", _date(start), _date(until)))
    on_disk = _lines(_year_file(stage))
    stage.set_time(_EX_DAY + 14 * DAY)
    share.split = (4, _EX_DAY + OPENS, True)
    wants = share.sent(DAY, start, last + DAY - 1, stage.time_ms())
    if stage.is_broken("split"):
        untold = ScriptedVendor(split=(4, _EX_DAY + 90 * DAY, False))
        share.twist = lambda row: untold.true(DAY, row.at, stage.time_ms())
    after = _bars(stage.ask(_SHARE, "1d", _date(start), _date(last)))
    traded = [row.open * 4 for row in wants[: len(before)]]
    broken = _misses(
        ([row.open for row in before] == traded, "the days before it were not answered as traded"),
        (
            after == [row._replace(at=row.at // DAY * DAY) for row in wants],
            "prices jump, or are wrong",
        ),
        (_lines(_year_file(stage))[: len(on_disk)] == on_disk, "stored rows were rewritten"),
    )
    did = f"fetched days of {_SHARE} before a split of 4 for 1, and the days after it once it was known"
    saw = f"{len(wants)} days in the prices of today, without a jump; {len(on_disk) - 1} stored rows are "
    brief = "days fetched across a 4:1 split", f"{len(wants)} days without a jump"
    return Observation(brief, did, saw + "unchanged", broken)


def retry_after(stage: Stage) -> Observation:
    """Answer a process with 429 and ``Retry-After``, and start a second process while it waits."""
    seconds, days = round(min(10.0, max(3.0, 3 * stage.pace))), (_MONDAY, _MONDAY + DAY)
    told = "0" if stage.is_broken("retry-after") else str(seconds)
    stage.server.vendors["binance"].refusals = [(429, {"Retry-After": told})]
    calls = [{"ask": _day(day), "options": {"provider": "binance"}} for day in days]
    first = stage.start("ask", calls[0])
    until = time.monotonic() + 30 * stage.pace
    while not stage.server.seen and time.monotonic() < until:
        time.sleep(0.01)
    time.sleep(seconds / 4)
    answers = [stage.result(process) for process in (first, stage.start("ask", calls[1]))]
    times = [request.at for request in stage.server.asked("binance")]
    waited = times[1] - times[0] if len(times) > 1 else 0.0
    broken = _misses(
        (waited >= seconds, f"the next request came after {waited:.1f} s"),
        # A process that does not read the header pauses for 15 s.
        (waited < 14.5, f"the next request came only after {waited:.1f} s"),
        *(
            (_is_true(answer, day, 24), f"{_date(day)} was not answered")
            for answer, day in zip(answers, days, strict=True)
        ),
    )
    did = f"refused a process with 429 and Retry-After: {seconds}, and started a second one"
    saw = f"the next request of either came after {waited:.1f} s; both were answered"
    brief = f"429 with Retry-After: {seconds}", f"2 processes waited {waited:.1f} s"
    return Observation(brief, did, saw, broken)


def full_disk(stage: Stage) -> Observation:
    """Prevent a process's files from growing, and request bars that are not stored yet."""
    tuesday = _MONDAY + DAY
    stage.ask(*_day(_MONDAY))
    path = _year_file(stage)
    stored = path.read_bytes()
    call = {"ask": _day(tuesday), "bytes": len(stored)}
    answer = stage.result(stage.start("ask_with_small_files", call))
    if stage.is_broken("full-disk"):
        _cut(path)
    problems = answer.get("provenance", {}).get("problems", [])
    note = next((problem for problem in problems if "not stored" in problem), "")
    is_unchanged = path.read_bytes() == stored
    is_kept = _is_true(stage.ask(*_day(_MONDAY), offline=True), _MONDAY, 24)
    stage.ask(*_day(tuesday))
    broken = _misses(
        (_is_true(answer, tuesday, 24), "the bars were not returned"),
        (bool(note), "the answer does not say that its bars were not stored"),
        ("ulimit" in note, "the answer does not name the limit"),
        (is_unchanged, "the stored file was changed"),
        (is_kept, "stored bars are lost"),
        (
            _is_true(stage.ask(*_day(tuesday), offline=True), tuesday, 24),
            "later they were not stored",
        ),
    )
    did = (
        f"let no file of a process grow beyond {len(stored)} bytes (RLIMIT_FSIZE, for a full disk)"
    )
    saw = f"the bars were returned with a note ({note.partition(' (')[0]}); stored bars are unchanged; "
    brief = "no file could grow", "new bars returned, stored ones intact"
    return Observation(brief, did, saw + "with space, the new ones were stored", broken)


def pinned(stage: Stage) -> Observation:
    """Let a vendor fail, and request bars both with ``provider=`` and without it."""
    binance, day = stage.server.vendors["binance"], _day(_MONDAY)
    binance.refusals, binance.refuses_always = [(451, {})], True
    options = {} if stage.is_broken("pinned") else {"provider": "binance"}
    answer = stage.ask(*day, **options)
    others = stage.server.asked("yahoo")
    told = stage.ask(*day).get("provenance", {})
    substitute = str(told.get("substitute") or "")
    broken = _misses(
        (answer.get("error") == "AllProvidersFailedError", "no error was raised"),
        (not others, "another vendor was queried"),
        (told.get("vendors") == ["yahoo"], "without provider=, no other vendor was queried"),
        (bool(substitute), "the other vendor's bars are not marked"),
    )
    did = "a vendor failed (HTTP 451); asked for its bars with provider=, and without"
    saw = f"with it, {answer.get('error')}, and no other vendor was queried; without it, bars that are "
    brief = "the vendor failed", "an error, and no other vendor queried"
    return Observation(brief, did, f"{saw}marked as a substitute: {substitute}", broken)


def wrong_bars(stage: Stage) -> Observation:
    """Have a vendor send a bar whose high is below its low, and one that is 100 times too large."""
    day = _MONDAY + DAY
    impossible, unit = day + 5 * HOUR, day + 6 * HOUR
    is_broken = stage.is_broken("wrong-bars")

    def twist(row: Row) -> Row:
        """Make the two rows of the vendor wrong."""
        if row.at == impossible:
            return row._replace(high=round(row.low * (1.01 if is_broken else 0.5), 2))
        by = 1.01 if is_broken else 100
        first, high, low, last = (round(price * by, 2) for price in row[1:5])
        return Row(row.at, first, high, low, last, row.volume) if row.at == unit else row

    stage.server.vendors["binance"].twist = twist
    answer, strict = stage.ask(*_day(day)), stage.ask(*_day(day), strict=True)
    told = _provenance(answer)
    doubted = [span["start"] for span in told["spans"] if span["state"] == "suspect"]
    rest, wants = (
        [row for row in rows if row.at not in (impossible, unit)]
        for rows in (_bars(answer), _hours(day))
    )
    broken = _misses(
        *(
            (
                f"{_text(at).replace(' ', 'T')}Z" in doubted,
                f"the bar of {_text(at)} was not doubted",
            )
            for at in (impossible, unit)
        ),
        (_text(impossible) not in _stored_times(stage), "the impossible bar was stored"),
        ("error" in strict, "strict=True raised no error"),
        (rest == wants, "other bars are wrong"),
    )
    did = "a vendor sent a bar with its high below its low, and one 100 times too large"
    saw = f"both are marked as suspect ({'; '.join(told['problems'][:2])}), the impossible one was not "
    saw += f"stored; strict=True raised {strict.get('error')}"
    brief = "2 wrong bars sent", "both marked suspect, strict=True raised"
    return Observation(brief, did, saw, broken)


PROOFS = (
    Proof("killed", "Nothing is lost", killed),
    Proof("flipped-bit", "Nothing is lost", flipped_bit),
    Proof("two-writers", "Nothing is lost, and polite", two_writers),
    Proof("hole", "Complete, and of one kind", hole),
    Proof("half-bar", "Final", half_bar),
    Proof("split", "Of one kind", split),
    Proof("retry-after", "Polite", retry_after),
    Proof("full-disk", "Nothing is lost", full_disk),
    Proof("pinned", "Pinned means pinned", pinned),
    Proof("wrong-bars", "With provenance", wrong_bars),
)


# --- parts -------------------------------------------------------------------------------


def _misses(*expected: tuple[bool, str]) -> list[str]:
    """Return the descriptions of the unmet expectations."""
    return [text for is_met, text in expected if not is_met]


def _after_the_answer(stage: Stage, process: Process) -> float:
    """Wait until the vendor has answered the second of two requests.

    Returns:
        Number of seconds from the vendor's answer to the first request until that call ended.
    """
    binance, limit = stage.server.vendors["binance"], 30 * stage.pace
    stage.result(process)  # it begins
    binance.answered.wait(limit)
    begun = time.monotonic()
    stage.result(process)
    lasted = time.monotonic() - begun
    binance.answered.clear()
    stage.result(process)
    binance.answered.wait(limit)
    return lasted


def _lost_days(stage: Stage, days: Sequence[int]) -> list[str]:
    """Return the days whose bars a new process does not find in the cache, described."""
    asks = {"asks": [*map(_day, days)], "options": {"offline": True}}
    process, lost = stage.start("ask_each", asks), list[str]()
    for day in days:
        stage.result(process)  # it begins
        is_there = _is_true(stage.result(process), day, 24)
        lost += _misses((is_there, f"bars of {_date(day)} are lost"))
    return lost


def _damage(stage: Stage, do: str) -> list[str]:
    """Return the damage in the cache that ``check`` found, or that ``repair`` left."""
    damaged: list[str] = stage.result(stage.start(do, {}))["damaged"]
    return damaged


def _day(day: int) -> list[str]:
    """Return the arguments for requesting a day's hourly bars."""
    return [_COIN, _HOURS, _date(day), _date(day)]


def _hours(day: int) -> list[Row]:
    """Return the correct hourly bars for a day."""
    return [ScriptedVendor().true(HOUR, day + n * HOUR, day + DAY) for n in range(24)]


def _bars(answer: dict[str, Any]) -> list[Row]:
    return [Row(int(row[0]), *row[1:]) for row in answer.get("bars", ())]


def _is_true(answer: dict[str, Any], day: int, count: int) -> bool:
    """Return whether an answer consists of ``count`` correct bars of a day."""
    bars, wants = _bars(answer), _hours(day)
    return len(bars) == count and all(row in wants for row in bars)


def _provenance(answer: dict[str, Any]) -> dict[str, Any]:
    """Return the provenance of an answer; raise UnfinishedError if the answer is an error."""
    if "error" in answer:
        raise UnfinishedError(f"no bars were returned: {answer['error']}: {answer['text']}")
    provenance: dict[str, Any] = answer["provenance"]
    return provenance


def _year_file(stage: Stage) -> Path:
    """Return the path of the stored year file; raise UnfinishedError if nothing was stored."""
    path = next(stage.cache.rglob("2024.csv.gz"), None)
    if path is None:
        raise UnfinishedError("no bar was stored")
    return path


def _lines(path: Path) -> list[str]:
    """Return the lines of a year file, read as `zcat` reads it; raise UnfinishedError if it is damaged."""
    try:
        return gzip.decompress(path.read_bytes()).decode().splitlines()
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise UnfinishedError(f"{path.name} is not a readable file: {error}") from error


def _stored_times(stage: Stage) -> set[str]:
    """Return the times of the bars in the stored year file."""
    return {line.partition(",")[0] for line in _lines(_year_file(stage))}


def _flip(path: Path, share: float) -> None:
    """Flip a bit of a file in place; ``share`` is its position as a fraction of the length."""
    data = path.read_bytes()
    offset = round((len(data) - 1) * share)
    disk = Disk()
    handle = disk.open_write(path)
    disk.write(handle, bytes([data[offset] ^ 1]), offset)
    disk.close(handle)


def _cut(path: Path) -> None:
    """Cut off the second half of a file."""
    disk = Disk()
    handle = disk.open_write(path)
    disk.truncate(handle, path.stat().st_size // 2)
    disk.close(handle)


def _date(time_ms: int) -> str:
    return f"{datetime.fromtimestamp(time_ms / 1000, UTC):%Y-%m-%d}"


def _text(time_ms: int) -> str:
    """Format a time as in the year files."""
    return f"{datetime.fromtimestamp(time_ms / 1000, UTC):%Y-%m-%d %H:%M:%S}"
