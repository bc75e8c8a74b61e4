"""The proofs: for each promise of the README, what is done, what is seen, and whether it is kept.

Faults are made from outside, on files, processes and vendors. Answers are compared with the bars
that the vendors' arithmetic gives, and files are read without the library.
"""

from __future__ import annotations

import gzip
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from ..disk.files import Disk
from .market import DAY, HOUR, OPENS, Row
from .stage import NOW_MS, Process, Stage

_COIN, _HOURS, _SHARE, _DAYS = "BTCUSDT", "1h", "AAPL", "1d"
_MONDAY = 1_717_372_800_000  # 2024-06-03
_EX_DATE = 1_717_977_600_000 + OPENS  # 2024-06-10
_KILLS, _WRITERS_DAYS = 12, 4


class Seen(NamedTuple):
    """The result of a proof.

    Attributes:
        did: What was done.
        saw: What was seen.
        broken: The ways in which the promise was broken; empty if it was kept.
    """

    did: str
    saw: str
    broken: Sequence[str] = ()


class Proof(NamedTuple):
    """A proof: its name, the promise in the README, and the function that carries it out."""

    name: str
    promise: str
    run: Callable[[Stage], Seen]


def killed(stage: Stage) -> Seen:
    """Kill a process at a dozen points between a vendor's answer and the end of the call."""
    kept, halves, lost, old, new = [], [], [], 0, 0
    for number in range(_KILLS):
        first, second = (_MONDAY - (2 * number + n) * DAY for n in (2, 1))
        stage.server.vendors["binance"].answered.clear()
        process = stage.start("ask_each", {"asks": [_day(first), _day(second)]})
        lasted, is_first_whole = _after_the_answer(stage, process)
        kept.append(first)
        time.sleep(lasted * number / _KILLS)
        process.kill()
        stage.wait([process])
        if stage.is_broken("killed"):
            _cut(_year_file(stage))
        found = stage.ask(*_day(second), offline=True)
        halves += [_date(second)] if 0 < len(found.get("bars", ())) < 24 else []
        old, new = old + (not found.get("bars")), new + (len(found.get("bars", ())) == 24)
        lost += [] if is_first_whole and _is_true(stage, found, second) else [_date(second)]
    for day in kept:
        lost += [] if _is_true(stage, stage.ask(*_day(day), offline=True), day, 24) else [_date(day)]
    damaged = stage.result(stage.start("check", {}))["damaged"]
    did = f"killed {_KILLS} processes with SIGKILL between a vendor's answer and the end of the call"
    saw = f"{old} commits not made, {new} made, {len(halves)} half made; all {len(kept)} days that "
    saw += f"had been answered are still there; {len(damaged)} damaged files"
    return Seen(did, saw, [*_texts("lost or wrong", lost), *_texts("half made", halves), *damaged])


def flipped_bit(stage: Stage) -> Seen:
    """Flip one bit in each file of a series, and ask again."""
    stage.ask(*_day(_MONDAY))
    lane = _year_file(stage).parent
    wrong, count = [], 0
    names = [path.name for path in sorted(lane.iterdir()) if path.is_file() and path.stat().st_size]
    places = [(name, part) for name in names for part in (0.1, 0.5, 0.9)]
    for name, part in places:
        path = lane / name
        if not path.is_file():
            continue
        count += 1
        _flip(path, part)
        if stage.is_broken("flipped-bit"):
            stage.server.vendors["binance"].refusals = [(451, {})]
            stage.server.vendors["binance"].refuses_always = True
        if not _is_true(stage, stage.ask(*_day(_MONDAY)), _MONDAY, 24):
            wrong.append(f"{name} at {part:.0%}")
    asked = len(stage.server.asked("binance")) - 1
    damaged = stage.result(stage.start("check", {}))["damaged"]
    did = f"flipped one bit at {count} places in the files of a series ({', '.join(names)})"
    saw = f"every answer had the true 24 bars, {asked} of them with bars fetched again"
    return Seen(did, saw, [*_texts("wrong answer after", wrong), *damaged])


def two_writers(stage: Stage) -> Seen:
    """Let two processes write days of the same series at the same time, some of them the same days."""
    own = [[_MONDAY - (2 * n + one) * DAY for n in range(_WRITERS_DAYS)] for one in (2, 3)]
    common = [_MONDAY + n * DAY for n in range(_WRITERS_DAYS)]
    other = stage.cache.with_name("other") if stage.is_broken("two-writers") else None
    writers = [
        stage.start("ask_each", {"asks": [_day(d) for pair in zip(mine, common, strict=True)
                                          for d in pair]}, cache=place)
        for mine, place in zip(own, (None, other), strict=True)
    ]  # fmt: skip
    stage.wait(writers)
    errors = [r["text"] for one in writers for r in one.reports if "error" in r]
    days = sorted({*own[0], *own[1], *common})
    lost = [_date(d) for d in days
            if not _is_true(stage, stage.ask(*_day(d), offline=True), d, 24)]  # fmt: skip
    starts = [int(one.params["startTime"]) for one in stage.server.asked("binance", "klines")]
    twice = [_date(day) for day in common if starts.count(day) > 1]
    damaged = stage.result(stage.start("check", {}))["damaged"]
    did = f"two processes wrote {len(days)} days of one series at the same time, "
    did += f"{len(common)} of them both"
    saw = f"all {len(days)} days are there; each day that both wanted was requested once; "
    saw += f"{len(damaged)} damaged files"
    broken = [*_texts("lost", lost), *_texts("requested twice", twice), *errors, *damaged]
    return Seen(did, saw, broken)


def hole(stage: Stage) -> Seen:
    """Let one vendor lack two hours that another has at other prices; then let it have them."""
    lacks = frozenset({_MONDAY + 5 * HOUR, _MONDAY + 6 * HOUR})
    binance, yahoo = stage.server.vendors["binance"], stage.server.vendors["yahoo"]
    if stage.is_broken("hole"):
        binance.twist = lambda row: yahoo.true(HOUR, row.at, NOW_MS) if row.at in lacks else row
    else:
        binance.lacks = lacks
    answer = stage.ask(*_day(_MONDAY))
    gaps = [f"{gap['start'][11:16]} to {gap['end'][11:16]} ({gap['reason']})"
            for gap in answer["provenance"]["gaps"]]  # fmt: skip
    wants = [row for row in _hours(stage, _MONDAY) if row.at not in lacks]
    broken = [] if _bars(answer) == wants else ["bars of another vendor, or wrong ones, in the answer"]
    broken += [] if len(gaps) == 1 and answer["warnings"] else ["the gap was not reported"]
    stage.server.heal()
    stage.set_time(NOW_MS + 7 * HOUR)
    again = stage.ask(*_day(_MONDAY), strict=True)
    broken += [] if _is_true(stage, again, _MONDAY, 24) else ["the gap was not filled afterwards"]
    spans = {(one.vendor, int(one.params.get("startTime", 0)), int(one.params.get("endTime", 0)) + 1)
             for one in stage.server.asked("binance", "klines")}  # fmt: skip
    if spans != {("binance", min(lacks), max(lacks) + HOUR)}:
        broken.append("more than the missing hours was requested")
    did = "one vendor lacked two hours that another has at other prices; hours later it had them"
    saw = f"22 bars of the first, none of the other; gap listed: {'; '.join(gaps)}; "
    saw += "later only these two hours were requested, and the day was complete"
    return Seen(did, saw, broken)


def half_bar(stage: Stage) -> Seen:
    """Ask while an hour is running, and again after it has closed."""
    hour = NOW_MS // HOUR * HOUR
    today, binance = [_COIN, _HOURS, _date(hour), "now"], stage.server.vendors["binance"]
    first = stage.ask(*today)
    stored = {line.partition(",")[0] for line in _lines(_year_file(stage))}
    broken = ["the running hour was in the answer"] if _stamps(first) & {hour} else []
    broken += ["the running hour was stored"] if _text(hour) in stored else []
    sent = [one for one in stage.server.asked("binance") if int(one.params["endTime"]) >= hour]
    stage.set_time(hour + HOUR + 10 * 60_000)
    if stage.is_broken("half-bar"):
        half = binance.true(HOUR, hour, NOW_MS)
        binance.twist = lambda row: half if row.at == hour else row
    closed = binance.true(HOUR, hour, hour + HOUR)
    bars = {row.at: row for row in _bars(stage.ask(*today))}
    broken += [] if bars.get(hour) == closed else ["the closed hour is not the true one"]
    stored = {line.partition(",")[0] for line in _lines(_year_file(stage))}
    broken += [] if _text(hour) in stored else ["the closed hour was not stored"]
    did = "a vendor sent the running hour" if sent else "asked while an hour was running"
    saw = "the hour was neither in the answer nor in the file; after its close it was fetched whole: "
    saw += f"volume {closed.volume:g}, not {binance.true(HOUR, hour, NOW_MS).volume:g}"
    return Seen(f"{did}, as it does 20 minutes after its open, and again after its close", saw, broken)


def split(stage: Stage) -> Seen:
    """Fetch days before a split, and the days after it once it is known."""
    share = stage.server.vendors["share"]
    start, until = _MONDAY - 14 * DAY, _EX_DATE - OPENS - 4 * DAY
    stage.set_time(_EX_DATE - OPENS - 3 * DAY)
    share.split = (4, _EX_DATE, False)
    before = stage.ask(_SHARE, _DAYS, _date(start), _date(until))
    on_disk = _lines(_year_file(stage))
    stage.set_time(NOW_MS)
    share.split = (4, _EX_DATE, True)
    if stage.is_broken("split"):
        share.twist = lambda row: share_before.true(DAY, row.at, NOW_MS)
        share_before = type(share)(split=(4, _EX_DATE + 90 * DAY, False))
    stage.server.seen.clear()
    after = stage.ask(_SHARE, _DAYS, _date(start), _date(_EX_DATE + DAY))
    share.twist = lambda row: row
    wants = share.sent(DAY, start, _EX_DATE + DAY, NOW_MS)
    asked = [int(one.params["period1"]) * 1000 for one in stage.server.asked("yahoo", "chart")]
    broken = [] if _bars(after, DAY) == [_dated(row) for row in wants] else ["prices jump, or are wrong"]
    broken += [] if _lines(_year_file(stage))[: len(on_disk)] == on_disk else ["old rows were rewritten"]
    broken += [] if asked and min(asked) > start + 7 * DAY else ["the old days were requested again"]
    if not before.get("bars") or before["bars"][0][1] < 3 * wants[0].open:
        broken.append("the days before the split were not answered as traded")
    did = f"fetched {_SHARE} before a split of 4 for 1, and the days after it once it was known"
    saw = f"{len(wants)} days without a jump, in the prices of today; {len(on_disk) - 1} rows on disk "
    saw += "unchanged; only the new days were requested"
    return Seen(did, saw, broken)


def retry_after(stage: Stage) -> Seen:
    """Refuse a process with 429 and ``Retry-After``, and start a second process meanwhile."""
    seconds = round(max(3.0, 3 * stage.pace))
    told = "0" if stage.is_broken("retry-after") else str(seconds)
    stage.server.vendors["binance"].refusals = [(429, {"Retry-After": told})]
    first = stage.start("ask", {"ask": _day(_MONDAY), "options": {"provider": "binance"}})
    until = time.monotonic() + 30 * stage.pace
    while not stage.server.seen and time.monotonic() < until:
        time.sleep(0.01)
    time.sleep(seconds / 4)
    second = stage.start("ask", {"ask": _day(_MONDAY + DAY), "options": {"provider": "binance"}})
    answers = [stage.result(one) for one in (first, second)]
    times = [one.at for one in stage.server.asked("binance")]
    waited = times[1] - times[0] if len(times) > 1 else 0.0
    broken = [] if waited >= seconds else [f"the next request came after {waited:.1f} s"]
    for answer, day in zip(answers, (_MONDAY, _MONDAY + DAY), strict=True):
        broken += [] if _is_true(stage, answer, day, 24) else [f"{_date(day)} was not answered"]
    did = f"refused a process with 429 and Retry-After: {seconds}, and started a second one"
    saw = f"the next request of either came after {waited:.1f} s; both were answered"
    return Seen(did, saw, broken)


def full_disk(stage: Stage) -> Seen:
    """Let the files of a process grow no more, and ask for bars that are not stored yet."""
    stage.ask(*_day(_MONDAY))
    path = _year_file(stage)
    limit, stored = path.stat().st_size, path.read_bytes()
    call = {"ask": _day(_MONDAY + DAY), "bytes": limit}
    answer = stage.result(stage.start("ask_with_small_files", call))
    if stage.is_broken("full-disk"):
        _cut(path)
    problems = answer.get("provenance", {}).get("problems", [])
    broken = [] if _is_true(stage, answer, _MONDAY + DAY, 24) else ["the bars were not returned"]
    broken += [] if any("not stored" in one for one in problems) else ["the failure was not reported"]
    broken += [] if path.read_bytes() == stored else ["the stored file was changed"]
    kept = stage.ask(*_day(_MONDAY), offline=True)
    broken += [] if _is_true(stage, kept, _MONDAY, 24) else ["stored bars are gone"]
    stage.ask(*_day(_MONDAY + DAY))
    later = stage.ask(*_day(_MONDAY + DAY), offline=True)
    broken += [] if _is_true(stage, later, _MONDAY + DAY, 24) else ["they cannot be stored later"]
    did = f"let no file of a process grow beyond {limit} bytes (RLIMIT_FSIZE, in place of a full disk)"
    saw = f"the bars were returned, with the note {_short(problems)!r}; stored bars are unchanged, and "
    return Seen(did, saw + "with space the new ones were stored", broken)


def pinned(stage: Stage) -> Seen:
    """Let a vendor fail, and ask with it pinned and without."""
    binance, day = stage.server.vendors["binance"], _day(_MONDAY)
    binance.refusals, binance.refuses_always = [(451, {})], True
    options = {} if stage.is_broken("pinned") else {"provider": "binance"}
    answer = stage.ask(*day, **options)
    others = len(stage.server.asked("yahoo"))
    broken = [] if answer.get("error") == "AllProvidersFailedError" else ["no error was raised"]
    broken += ["another vendor was asked"] if others else []
    free = stage.ask(*day)
    vendors, told = free.get("provenance", {}).get("vendors"), free.get("warnings")
    marked = free.get("provenance", {}).get("substitute")
    broken += [] if vendors == ["yahoo"] and marked else ["without a pin, no marked substitute"]
    did = "a vendor failed (HTTP 451); asked for its bars with provider=, and without"
    saw = f"with it {answer.get('error')}, and no other vendor was asked; without it the bars of "
    return Seen(did, f"{saw}{vendors}, marked: {_short([str(marked), *(told or [])])}", broken)


def wrong_bars(stage: Stage) -> Seen:
    """Let a vendor send a bar whose high is below its low, and one that is 100 times too large."""
    impossible, unit = _MONDAY + 29 * HOUR, _MONDAY + 30 * HOUR
    is_broken = stage.is_broken("wrong-bars")

    def twist(row: Row) -> Row:
        if row.at == impossible:
            return row._replace(high=round(row.low * (1.01 if is_broken else 0.5), 2))
        by = 1.01 if is_broken else 100
        prices = (round(price * by, 2) for price in row[1:5])
        return Row(row.at, *prices, row.volume) if row.at == unit else row

    day = _MONDAY + DAY
    stage.server.vendors["binance"].twist = twist
    answer = stage.ask(*_day(day))
    strict = stage.ask(*_day(day), strict=True)
    told = answer["provenance"]
    doubted = {int(datetime.fromisoformat(s["start"]).timestamp()) * 1000
               for s in told["spans"] if s["state"] == "suspect"}  # fmt: skip
    broken = [f"{_text(at)} was taken as final" for at in (impossible, unit) if at not in doubted]
    broken += [] if "error" in strict else ["strict=True did not raise an error"]
    stored = {line.partition(",")[0] for line in _lines(_year_file(stage))}
    broken += ["the impossible bar was stored"] if _text(impossible) in stored else []
    rest = [row for row in _bars(answer) if row.at not in (impossible, unit)]
    wants = [row for row in _hours(stage, day, true=True) if row.at not in (impossible, unit)]
    broken += [] if rest == wants else ["other bars are wrong"]
    did = "a vendor sent a bar with its high below its low, and one 100 times too large"
    saw = f"both marked as suspect ({_short(told['problems'])}), the impossible one not stored; "
    return Seen(did, saw + f"strict=True raised {strict.get('error')}", broken)


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


def _after_the_answer(stage: Stage, process: Process) -> tuple[float, bool]:
    """Wait until the vendor has answered the second of two questions.

    Returns:
        How many seconds the call took after the vendor's answer to the first one, and whether that
        call returned its bars.
    """
    binance = stage.server.vendors["binance"]
    limit = 30 * stage.pace
    stage.result(process)  # begun
    binance.answered.wait(limit)
    begun = time.monotonic()
    whole = len(stage.result(process).get("bars", ())) == 24
    lasted = time.monotonic() - begun
    binance.answered.clear()
    stage.result(process)
    binance.answered.wait(limit)
    return lasted, whole


def _day(day: int) -> list[str]:
    """Return the question for the hours of a day."""
    return [_COIN, _HOURS, _date(day), _date(day)]


def _hours(stage: Stage, day: int, *, true: bool = False) -> list[Row]:
    """Return the true hours of a day."""
    vendor = stage.server.vendors["binance"]
    return [vendor.true(HOUR, day + n * HOUR, NOW_MS) for n in range(24)]


def _bars(answer: dict[str, Any], step: int = HOUR) -> list[Row]:
    return [Row(int(row[0]), *row[1:]) for row in answer.get("bars", ())]


def _is_true(stage: Stage, answer: dict[str, Any], day: int, least: int = 0) -> bool:
    """Return whether an answer has only true bars of a day, at least so many of them."""
    bars, wants = _bars(answer), _hours(stage, day)
    return len(bars) >= least and all(row in wants for row in bars)


def _stamps(answer: dict[str, Any]) -> set[int]:
    return {row.at for row in _bars(answer)}


def _dated(row: Row) -> Row:
    """Return a day with its date as its time, as the answer has it."""
    return row._replace(at=row.at // DAY * DAY)


def _year_file(stage: Stage) -> Path:
    return next(stage.cache.rglob("2024.csv.gz"))


def _lines(path: Path) -> list[str]:
    """Return the lines of a year file, read as `zcat` does."""
    return gzip.decompress(path.read_bytes()).decode().splitlines()


def _flip(path: Path, part: float) -> None:
    """Flip one bit of a file, at ``part`` of its length, in place."""
    data = path.read_bytes()
    at = min(len(data) - 1, round(len(data) * part))
    _write(path, bytes([data[at] ^ 1]), at)


def _cut(path: Path) -> None:
    """Lose the second half of a file."""
    disk = Disk()
    handle = disk.open_write(path)
    disk.truncate(handle, path.stat().st_size // 2)
    disk.close(handle)


def _write(path: Path, data: bytes, offset: int) -> None:
    disk = Disk()
    handle = disk.open_write(path)
    disk.write(handle, data, offset)
    disk.close(handle)


def _date(at: int) -> str:
    return f"{datetime.fromtimestamp(at / 1000, UTC):%Y-%m-%d}"


def _text(at: int) -> str:
    """Return a time as a year file has it."""
    return f"{datetime.fromtimestamp(at / 1000, UTC):%Y-%m-%d %H:%M:%S}"


def _texts(what: str, names: Iterable[str]) -> list[str]:
    found = list(dict.fromkeys(names))
    return [f"{what}: {', '.join(found)}"] if found else []


def _short(texts: Sequence[str]) -> str:
    return texts[0][:120] if texts else ""
