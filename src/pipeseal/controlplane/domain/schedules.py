"""Schedules: cron lines, and when they run next.

    minute hour day-of-month month day-of-week [time zone]      30 4 * * 1-5 Europe/Berlin
    @hourly @daily @midnight @weekly @monthly @yearly [time zone]

Read as the ecosystem documents them: UTC unless the line says otherwise; names (`jan`, `mon`), lists, ranges, steps;
`L` or `last` and days counted from the end (`-2-L`); the nth weekday of a month (`fri#1`, `fri#L`); every nth week
(`mon%2`, `mon%2+1`). When both day fields are given, either may match, as in crontab(5); `&` behind one asks for
both.

Time zones change their clocks. A line with fixed times runs once a day: a time that is skipped runs as soon as the
clock has moved on, a time that comes twice runs the first time. A line whose minute or hour starts with `*` runs by
the hours that really pass.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from typing import NamedTuple
from zoneinfo import ZoneInfo

from pipeseal.errors import MalformedInput, Position

_PREDEFINED = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_WEEK_ONE = date(2019, 1, 1)  # a Tuesday: weeks of the `%` extension are counted from it, starting with 1
_MAX_LENGTH = 256
_MAX_MODULUS = 520  # weeks, ten years
_HORIZON_DAYS = 40 * 366
_OFFSET = re.compile(r"([+-])(\d{2}):?(\d{2})")
_ZONE_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_+-]*(?:/[A-Za-z0-9_+-]+)*")
_STEPPED = re.compile(r"(?P<range>[^/]*)(?:/(?P<step>\d{1,4}))?")
_RANGE = re.compile(r"(?P<first>-?[A-Za-z0-9]+)(?:-(?P<last>-?[A-Za-z0-9]+))?")
_NTH = re.compile(r"(?P<day>[A-Za-z0-9]+)#(?P<nth>-?[0-9]+|L|last)", re.IGNORECASE)
_EVERY = re.compile(r"(?P<days>[^%]+)%(?P<modulus>\d{1,4})(?:\+(?P<offset>\d{1,4}))?")
_LAST = ("l", "last")


class _Field(NamedTuple):
    name: str
    first: int
    last: int
    names: tuple[str, ...] = ()  # what the numbers from `first` on are called


_MINUTE = _Field("minute", 0, 59)
_HOUR = _Field("hour", 0, 23)
_DAY = _Field("day of month", 1, 31)
_MONTH = _Field("month", 1, 12, _MONTHS)
_WEEKDAY = _Field("day of week", 0, 7, _WEEKDAYS)  # 7 is Sunday too
_FIELDS = (_MINUTE, _HOUR, _DAY, _MONTH, _WEEKDAY)


class _WeekdayRule(NamedTuple):
    """A weekday, 0 for Sunday; perhaps only the nth of a month, or only in some weeks."""

    weekday: int
    nth: int | None = None
    modulus: int | None = None
    offset: int = 0

    def matches(self, day: date) -> bool:
        if day.isoweekday() % 7 != self.weekday:
            return False
        if self.nth is not None:
            if self.nth > 0:
                return (day.day + 6) // 7 == self.nth
            return (calendar.monthrange(day.year, day.month)[1] - day.day) // 7 + 1 == -self.nth
        if self.modulus is not None:
            week = (day - _WEEK_ONE).days // 7 + 1
            return (week - self.offset) % self.modulus == 0
        return True


@dataclass(frozen=True, slots=True)
class Schedule:
    """A cron line: made by `parse_schedule`.

    Parameters:
        text: as written.
        times: minutes after midnight, ascending.
        months: 1 to 12.
        days: of the month; negative ones count from the end, -1 is the last. None when any day will do.
        weekdays: None when any will do.
        both_days: a day must satisfy `days` and `weekdays`; otherwise one of them is enough.
        fixed_times: runs at times of day rather than every so often, which matters when clocks change.
        zone: of all the above.
    """

    text: str
    times: tuple[int, ...]
    months: frozenset[int]
    days: frozenset[int] | None
    weekdays: tuple[_WeekdayRule, ...] | None
    both_days: bool
    fixed_times: bool
    zone: tzinfo

    def includes_day(self, day: date) -> bool:
        """Whether it runs on `day` at all."""
        if day.month not in self.months:
            return False
        if self.days is None:
            return self.weekdays is None or self._matches_weekday(day)
        if self.weekdays is None:
            return self._matches_day(day)
        if self.both_days:
            return self._matches_day(day) and self._matches_weekday(day)
        return self._matches_day(day) or self._matches_weekday(day)

    def _matches_day(self, day: date) -> bool:
        from_end = day.day - calendar.monthrange(day.year, day.month)[1] - 1
        return self.days is not None and (day.day in self.days or from_end in self.days)

    def _matches_weekday(self, day: date) -> bool:
        return self.weekdays is not None and any(rule.matches(day) for rule in self.weekdays)


def parse_schedule(text: str, *, source: str) -> Schedule:
    """A cron line.

    Parameters:
        text: one line.
        source: what people call it, for errors, such as `schedule nightly`.

    Raises:
        MalformedInput: with the column at fault. `schedule.malformed`; `schedule.zone` for a time zone that is not
            known on this machine; `schedule.never` for a line such as `0 0 30 2 *` that does not run in 40 years.
    """
    return _Reader(source, text).read()


def next_run(schedule: Schedule, after: float) -> float:
    """When a schedule runs next.

    Parameters:
        after: seconds since 1970-01-01T00:00:00Z; the answer is later than that.

    Returns:
        Seconds since 1970-01-01T00:00:00Z, at a full minute of the schedule's time zone.

    Raises:
        MalformedInput: `schedule.never`, not within 40 years.
    """
    # A clock that goes back may still owe times of a day that has ended already, so the search starts a day early.
    day = datetime.fromtimestamp(after, schedule.zone).date() - timedelta(days=1)
    for _ in range(_HORIZON_DAYS):
        if day.month not in schedule.months:
            day = date(day.year + day.month // 12, day.month % 12 + 1, 1)
            continue
        if schedule.includes_day(day):
            found = next((instant for instant in _instants(schedule, day) if instant > after), None)
            if found is not None:
                return found
        day += timedelta(days=1)
    raise MalformedInput("schedule.never", f"{schedule.text!r} does not run in the next 40 years")


def _instants(schedule: Schedule, day: date) -> Iterator[float]:
    """All moments of `day` at which the schedule runs, in order."""
    zone = schedule.zone
    midnight = datetime.combine(day, time())
    offsets = {(midnight + timedelta(hours=hours)).replace(tzinfo=zone).utcoffset() for hours in (0, 6, 12, 18, 24)}
    if len(offsets) == 1:
        start = midnight.replace(tzinfo=zone).timestamp()
        yield from (start + minutes * 60 for minutes in schedule.times)
        return
    moments: set[float] = set()
    for minutes in schedule.times:
        moments.update(_moments(midnight + timedelta(minutes=minutes), zone, schedule.fixed_times))
    yield from sorted(moments)


def _moments(local: datetime, zone: tzinfo, fixed: bool) -> tuple[float, ...]:
    """When a clock in `zone` shows `local`: once, twice or never (PEP 495)."""
    first = local.replace(tzinfo=zone).timestamp()
    second = local.replace(tzinfo=zone, fold=1).timestamp()
    if first == second:
        return (first,)
    if first < second:
        return (first,) if fixed else (first, second)
    return (_change(second, first, zone),) if fixed else ()


def _change(before: float, behind: float, zone: tzinfo) -> float:
    """The moment between two others at which the clocks of `zone` were changed, to the second."""
    low, high = int(before), int(behind)
    offset = datetime.fromtimestamp(low, zone).utcoffset()
    while high - low > 1:
        middle = (low + high) // 2
        if datetime.fromtimestamp(middle, zone).utcoffset() == offset:
            low = middle
        else:
            high = middle
    return float(high)


class _Reader:
    def __init__(self, source: str, text: str) -> None:
        self._source = source
        self._text = text

    def read(self) -> Schedule:
        if len(self._text) > _MAX_LENGTH or "\n" in self._text.strip():
            raise self._error(0, f"a schedule is one line of at most {_MAX_LENGTH} characters")
        words = [(match.start(), match[0]) for match in re.finditer(r"\S+", self._text)]
        if words and words[0][1].startswith("@"):
            at, name = words[0]
            line = _PREDEFINED.get(name.lower())
            if line is None:
                raise self._error(at, f"there is no interval {name!r}", f"known are {', '.join(_PREDEFINED)}")
            words = [(at, word) for word in line.split()] + words[1:]
        if not 5 <= len(words) <= 6:
            raise self._error(
                words[-1][0] if words else 0,
                f"a schedule has five fields and perhaps a time zone, this one has {len(words)}",
                "write: minute hour day-of-month month day-of-week [time zone]",
            )
        zone = self._zone(*words[5]) if len(words) == 6 else UTC
        texts = [word.lower() for _, word in words[:5]]
        both = texts[2].endswith("&") or texts[4].endswith("&")
        minutes, hours, days, months = (
            self._values(at, word, field) for (at, word), field in zip(words[:4], _FIELDS[:4], strict=True)
        )
        schedule = Schedule(
            text=self._text.strip(),
            times=tuple(hour * 60 + minute for hour in sorted(hours) for minute in sorted(minutes)),
            months=frozenset(months),
            days=None if _is_any(texts[2]) else frozenset(days),
            weekdays=None if _is_any(texts[4]) else tuple(self._weekdays(*words[4])),
            both_days=both,
            fixed_times=not texts[0].startswith("*") and not texts[1].startswith("*"),
            zone=zone,
        )
        try:
            next_run(schedule, 0.0)
        except MalformedInput as error:
            raise self._error(words[0][0], error.message, code="schedule.never") from error
        return schedule

    def _values(self, at: int, text: str, field: _Field) -> set[int]:
        values: set[int] = set()
        for at_item, item in self._items(at, text, field):
            values.update(self._range(at_item, item, field))
        return values

    def _weekdays(self, at: int, text: str) -> Iterator[_WeekdayRule]:
        for at_item, item in self._items(at, text, _WEEKDAY):
            if "#" in item:
                yield self._nth(at_item, item)
            elif "%" in item:
                yield from self._every(at_item, item)
            else:
                yield from (_WeekdayRule(day) for day in sorted(self._weekday_range(at_item, item)))

    def _items(self, at: int, text: str, field: _Field) -> Iterator[tuple[int, str]]:
        if "~" in text:
            raise self._error(at + text.index("~"), "random times (`~`) are not supported", "choose a time yourself")
        bare = text.removesuffix("&") if field in (_DAY, _WEEKDAY) else text
        for item in bare.split(","):
            if not item:
                raise self._error(at, f"the {field.name} is missing something beside a comma")
            yield at, item
            at += len(item) + 1

    def _weekday_range(self, at: int, text: str) -> set[int]:
        return {day % 7 for day in self._range(at, text, _WEEKDAY)}

    def _range(self, at: int, text: str, field: _Field) -> range:
        stepped = _STEPPED.fullmatch(text)
        if stepped is None:
            raise self._error(at, f"{text!r} is no {field.name}", "a step is a number, as in */10")
        step = int(stepped["step"] or 1)
        if step == 0:
            raise self._error(at, f"a step of 0 in the {field.name} leads nowhere")
        top = 6 if field is _WEEKDAY else field.last
        if stepped["range"] == "*":
            return range(field.first, top + 1, step)
        bounds = _RANGE.fullmatch(stepped["range"])
        if bounds is None:
            raise self._error(at, f"{text!r} is no {field.name}")
        first = self._number(at, bounds["first"], field)
        if bounds["last"] is None and stepped["step"] is None:
            return range(first, first + 1)
        if bounds["last"] is None:
            if field is _WEEKDAY:
                first %= 7
            last = -1 if first < 0 else top
        else:
            last = self._number(at, bounds["last"], field)
        if first > 0 and last == -1:
            last = field.last  # `15-L`: shorter months just end earlier
        elif first * last < 0:
            raise self._error(at, f"the range {text!r} counts from both ends of the month", "as in 15-L or -7-L")
        if field is _WEEKDAY and last < first:
            last += 7  # fri-mon goes through the weekend
        if last < first:
            raise self._error(at, f"the range {text!r} ends before it starts")
        return range(first, last + 1, step)

    def _number(self, at: int, text: str, field: _Field) -> int:
        lowered = text.lower()
        if field is _DAY and lowered in _LAST:
            return -1
        if lowered in field.names:
            return field.names.index(lowered) + field.first
        negative = field is _DAY and lowered.startswith("-")
        digits = lowered[1:] if negative else lowered
        if not re.fullmatch(r"[0-9]{1,2}", digits) or not field.first <= int(digits) <= field.last:
            expected = f"{field.first} to {field.last}" + (
                f" or {field.names[0]}, {field.names[1]}..." if field.names else ""
            )
            raise self._error(at, f"{text!r} is no {field.name}", f"it is {expected}")
        return -int(digits) if negative else int(digits)

    def _nth(self, at: int, text: str) -> _WeekdayRule:
        match = _NTH.fullmatch(text)
        nth = -1 if match and match["nth"].lower() in _LAST else int(match["nth"]) if match else 0
        if match is None or not 1 <= abs(nth) <= 5:
            raise self._error(at, f"{text!r} is no weekday of a month", "as in fri#1, fri#-1 or fri#L")
        return _WeekdayRule(self._number(at, match["day"], _WEEKDAY) % 7, nth=nth)

    def _every(self, at: int, text: str) -> Iterator[_WeekdayRule]:
        match = _EVERY.fullmatch(text)
        modulus = int(match["modulus"]) if match else 0
        if match is None or not 1 <= modulus <= _MAX_MODULUS:
            raise self._error(
                at, f"{text!r} is no weekday of every nth week", f"as in mon%2 or mon%2+1, up to {_MAX_MODULUS} weeks"
            )
        for day in sorted(self._weekday_range(at, match["days"])):
            yield _WeekdayRule(day, modulus=modulus, offset=int(match["offset"] or 0))

    def _zone(self, at: int, text: str) -> tzinfo:
        if text.upper() in ("Z", "UTC"):
            return UTC
        if match := _OFFSET.fullmatch(text):
            minutes = int(match[2]) * 60 + int(match[3])
            if int(match[3]) > 59 or minutes > 14 * 60:
                raise self._error(at, f"there is no time zone {text!r}", code="schedule.zone")
            return timezone(timedelta(minutes=-minutes if match[1] == "-" else minutes))
        try:
            if _ZONE_NAME.fullmatch(text):
                return ZoneInfo(text)
        except (ValueError, OSError, KeyError):
            # Not in the time zone database: a missing file, a folder, or something else than a zone.
            pass
        raise self._error(
            at,
            f"there is no time zone {text!r}",
            "write a name such as Europe/Berlin or an offset such as +09:00",
            code="schedule.zone",
        )

    def _error(self, at: int, message: str, help: str = "", code: str = "schedule.malformed") -> MalformedInput:
        line = self._text.split("\n", 1)[0]
        position = Position(self._source, 1, min(at, len(line)) + 1, line)
        return MalformedInput(code, message, help=help, position=position)


def _is_any(text: str) -> bool:
    return text.removesuffix("&") in ("*", "*/1")
