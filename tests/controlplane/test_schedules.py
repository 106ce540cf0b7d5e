"""Schedules: the documented examples, clocks that change, and agreement with another implementation of cron."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim, CronSimError
from hypothesis import given
from hypothesis import strategies as st

from pipeseal.controlplane.domain.schedules import next_run, parse_schedule
from pipeseal.errors import MalformedInput, render_error


def runs(text: str, after: str, count: int) -> list[str]:
    """The next runs, in UTC; `after` is UTC as well."""
    schedule = parse_schedule(text, source="schedule")
    moment = datetime.fromisoformat(after).replace(tzinfo=UTC).timestamp()
    found = []
    for _ in range(count):
        moment = next_run(schedule, moment)
        found.append(datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M:%S").removesuffix(":00"))
    return found


@pytest.mark.parametrize(
    ("text", "after", "expected"),
    [
        # intervals with names
        ("@hourly", "2026-03-01 10:00", ["2026-03-01 11:00", "2026-03-01 12:00"]),
        ("@daily", "2026-03-01 10:00", ["2026-03-02 00:00", "2026-03-03 00:00"]),
        ("@midnight", "2026-03-01 00:00", ["2026-03-02 00:00"]),
        ("@weekly", "2026-03-02 00:00", ["2026-03-08 00:00", "2026-03-15 00:00"]),
        ("@monthly", "2026-03-02 00:00", ["2026-04-01 00:00"]),
        ("@yearly", "2026-03-02 00:00", ["2027-01-01 00:00"]),
        ("@ANNUALLY", "2026-03-02 00:00", ["2027-01-01 00:00"]),
        ("@daily Asia/Tokyo", "2026-03-01 10:00", ["2026-03-01 15:00"]),
        # fields
        ("*/10 * * * *", "2026-03-01 10:03:20", ["2026-03-01 10:10", "2026-03-01 10:20"]),
        ("30 * * * *", "2026-03-01 10:30", ["2026-03-01 11:30"]),
        ("0 */12 * * *", "2026-03-01 10:30", ["2026-03-01 12:00", "2026-03-02 00:00"]),
        ("15/20 8-9 * * *", "2026-03-01 08:15", ["2026-03-01 08:35", "2026-03-01 08:55", "2026-03-01 09:15"]),
        ("5,10 4 * * *", "2026-03-01 04:05", ["2026-03-01 04:10", "2026-03-02 04:05"]),
        ("0 16 * * SUN", "2026-03-01 16:00", ["2026-03-08 16:00"]),
        ("0 16 * * 7", "2026-03-01 15:00", ["2026-03-01 16:00"]),
        ("0 0 * * 1-5", "2026-02-27 00:00", ["2026-03-02 00:00", "2026-03-03 00:00"]),
        ("0 0 * * fri-mon", "2026-03-03 00:00", ["2026-03-06 00:00", "2026-03-07 00:00", "2026-03-08 00:00"]),
        ("0 0 * * 5-7", "2026-03-08 00:00", ["2026-03-13 00:00"]),
        ("0 0 1 */2 *", "2026-03-02 00:00", ["2026-05-01 00:00"]),
        ("0 0 1 feb,dec *", "2026-03-02 00:00", ["2026-12-01 00:00", "2027-02-01 00:00"]),
        ("0 0 29 2 *", "2026-03-02 00:00", ["2028-02-29 00:00", "2032-02-29 00:00"]),
        # days from the end of the month
        ("0 16 L * *", "2026-02-01 00:00", ["2026-02-28 16:00", "2026-03-31 16:00"]),
        ("0 0 last * *", "2028-02-01 00:00", ["2028-02-29 00:00"]),
        ("0 0 -2-L * *", "2026-02-01 00:00", ["2026-02-27 00:00", "2026-02-28 00:00", "2026-03-30 00:00"]),
        ("0 0 -3 4 *", "2026-02-01 00:00", ["2026-04-28 00:00"]),
        ("0 0 29-L 2 *", "2026-02-01 00:00", ["2028-02-29 00:00"]),
        # one day field or the other, or both
        ("0 0 13 * 5", "2026-02-02 00:00", ["2026-02-06 00:00", "2026-02-13 00:00", "2026-02-20 00:00"]),
        ("0 0 13 * 5&", "2026-02-02 00:00", ["2026-02-13 00:00", "2026-03-13 00:00", "2026-11-13 00:00"]),
        ("0 0 13& * 5", "2026-03-14 00:00", ["2026-11-13 00:00"]),
        ("0 0 */1 * 5", "2026-02-02 00:00", ["2026-02-06 00:00"]),
        # the nth weekday of a month
        ("0 5 * * 1#1", "2026-02-03 00:00", ["2026-03-02 05:00", "2026-04-06 05:00"]),
        ("0 5 * * fri#4,fri#5", "2026-05-01 06:00", ["2026-05-22 05:00", "2026-05-29 05:00", "2026-06-26 05:00"]),
        ("0 5 * * fri#L", "2026-05-01 00:00", ["2026-05-29 05:00", "2026-06-26 05:00"]),
        ("0 5 * * fri#-2", "2026-05-01 00:00", ["2026-05-22 05:00"]),
        ("0 5 * * mon#2,tue", "2026-05-05 06:00", ["2026-05-11 05:00", "2026-05-12 05:00"]),
        # every nth week, counted from 2019-01-01
        ("0 0 * * 2%2+1", "2018-12-31 00:00", ["2019-01-01 00:00", "2019-01-15 00:00"]),
        ("0 0 * * 2%2", "2018-12-31 00:00", ["2019-01-08 00:00", "2019-01-22 00:00"]),
        ("0 0 * * 0%3", "2019-01-01 00:00", ["2019-01-20 00:00", "2019-02-10 00:00"]),
        ("0 0 * * 0%3+1", "2019-01-01 00:00", ["2019-01-06 00:00", "2019-01-27 00:00"]),
        ("0 12 * * mon-tue%2", "2019-01-01 00:00", ["2019-01-08 12:00", "2019-01-14 12:00", "2019-01-22 12:00"]),
        # time zones
        ("0 8 * * * America/Vancouver", "2026-01-10 00:00", ["2026-01-10 16:00"]),
        ("0 8 * * * America/Vancouver", "2026-07-10 00:00", ["2026-07-10 15:00"]),
        ("0 0 */2 * * +01:00", "2026-03-02 00:00", ["2026-03-02 23:00"]),
        ("0 0 * * * -0530", "2026-03-02 00:00", ["2026-03-02 05:30"]),
        ("0 0 * * * UTC", "2026-03-02 00:00", ["2026-03-03 00:00"]),
        ("0 0 * * 1 Pacific/Auckland", "2026-03-01 10:00", ["2026-03-01 11:00"]),
    ],
)
def test_next_runs(text: str, after: str, expected: list[str]) -> None:
    assert runs(text, after, len(expected)) == expected


@pytest.mark.parametrize(
    ("text", "after", "expected"),
    [
        # Clocks in Berlin went from 02:00 to 03:00 on 2026-03-29 (01:00 UTC).
        ("30 2 * * * Europe/Berlin", "2026-03-28 02:00", ["2026-03-29 01:00", "2026-03-30 00:30"]),
        ("0,30 2 * * * Europe/Berlin", "2026-03-28 02:00", ["2026-03-29 01:00", "2026-03-30 00:00"]),
        ("0 3 * * * Europe/Berlin", "2026-03-28 12:00", ["2026-03-29 01:00", "2026-03-30 01:00"]),
        ("30 * * * * Europe/Berlin", "2026-03-29 00:00", ["2026-03-29 00:30", "2026-03-29 01:30"]),
        ("*/30 2 * * * Europe/Berlin", "2026-03-28 02:00", ["2026-03-30 00:00", "2026-03-30 00:30"]),
        # They went back from 03:00 to 02:00 on 2026-10-25 (01:00 UTC).
        ("30 2 * * * Europe/Berlin", "2026-10-24 12:00", ["2026-10-25 00:30", "2026-10-26 01:30"]),
        (
            "30 * * * * Europe/Berlin",
            "2026-10-25 00:00",
            ["2026-10-25 00:30", "2026-10-25 01:30", "2026-10-25 02:30"],
        ),
        # In Beirut the skipped hour is the one after midnight, and the doubled one is before it.
        ("0 0 * * * Asia/Beirut", "2026-03-28 12:00", ["2026-03-28 22:00", "2026-03-29 21:00"]),
        ("30 23 * * * Asia/Beirut", "2026-10-24 12:00", ["2026-10-24 20:30", "2026-10-25 21:30"]),
        ("30 23-23/1 * * * Asia/Beirut", "2026-10-24 21:00", ["2026-10-25 21:30"]),
        ("*/30 23 * * * Asia/Beirut", "2026-10-24 20:30", ["2026-10-24 21:00", "2026-10-24 21:30"]),
        # In Lord Howe clocks change by half an hour: back from 02:00 to 01:30 on 2026-04-04 at 15:00 UTC.
        ("0,30,45 1-2 * * * Australia/Lord_Howe", "2026-04-04 14:20", ["2026-04-04 14:30", "2026-04-04 14:45"]),
        ("45 * * * * Australia/Lord_Howe", "2026-04-04 14:20", ["2026-04-04 14:45", "2026-04-04 15:15"]),
        # Samoa had no 2011-12-30 at all: it ends where the 31st begins, at 10:00 UTC.
        ("0 12 * * * Pacific/Apia", "2011-12-29 20:00", ["2011-12-29 22:00", "2011-12-30 10:00"]),
    ],
)
def test_clocks_that_change(text: str, after: str, expected: list[str]) -> None:
    assert runs(text, after, len(expected)) == expected


@pytest.mark.parametrize(
    ("text", "code", "column", "words"),
    [
        ("", "schedule.malformed", 1, "five fields"),
        ("* * * *", "schedule.malformed", 7, "this one has 4"),
        ("0 0 * * * * *", "schedule.malformed", 13, "this one has 7"),
        ("@reboot", "schedule.malformed", 1, "@hourly"),
        ("every day at five", "schedule.malformed", 14, "five fields"),
        ("60 * * * *", "schedule.malformed", 1, "0 to 59"),
        ("* 24 * * *", "schedule.malformed", 3, "0 to 23"),
        ("* * 0 * *", "schedule.malformed", 5, "1 to 31"),
        ("* * -32 * *", "schedule.malformed", 5, "1 to 31"),
        ("* * * 13 *", "schedule.malformed", 7, "jan, feb"),
        ("* * * * 8", "schedule.malformed", 9, "sun, mon"),
        ("* * * * fryday", "schedule.malformed", 9, "day of week"),
        ("1,,2 * * * *", "schedule.malformed", 3, "beside a comma"),
        ("1,60 * * * *", "schedule.malformed", 3, "'60' is no minute"),
        ("*/0 * * * *", "schedule.malformed", 1, "leads nowhere"),
        ("*/x * * * *", "schedule.malformed", 1, "*/10"),
        ("30-10 * * * *", "schedule.malformed", 1, "ends before it starts"),
        ("* * L-2 * *", "schedule.malformed", 5, "both ends"),
        ("* * 3--3 * *", "schedule.malformed", 5, "both ends"),
        ("* L * * *", "schedule.malformed", 3, "no hour"),
        ("0 ~ * * *", "schedule.malformed", 3, "not supported"),
        ("* * * * fri#0", "schedule.malformed", 9, "fri#1"),
        ("* * * * fri#6", "schedule.malformed", 9, "fri#1"),
        ("* * * * fri#x", "schedule.malformed", 9, "fri#1"),
        ("* * * * mon%0", "schedule.malformed", 9, "mon%2"),
        ("* * * * mon%2-1", "schedule.malformed", 9, "mon%2"),
        ("* * * * mon%9999", "schedule.malformed", 9, "520"),
        ("* * 1%2 * *", "schedule.malformed", 5, "no day of month"),
        ("0 0 * * *\n0 1 * * *", "schedule.malformed", 1, "one line"),
        ("0 0 * * * " + "x" * 300, "schedule.malformed", 1, "256"),
        ("0 0 * * * Europe/Atlantis", "schedule.zone", 11, "Europe/Berlin"),
        ("0 0 * * * Europe", "schedule.zone", 11, "Europe"),
        ("0 0 * * * ../UTC", "schedule.zone", 11, "no time zone"),
        ("0 0 * * * +25:00", "schedule.zone", 11, "no time zone"),
        ("0 0 * * * +01:75", "schedule.zone", 11, "no time zone"),
        ("0 0 * * * *", "schedule.zone", 11, "no time zone"),
        ("0 0 30 2 *", "schedule.never", 1, "40 years"),
        ("0 0 31 4,6,9,11 *", "schedule.never", 1, "40 years"),
        ("0 0 1 * mon#5&", "schedule.never", 1, "40 years"),
    ],
)
def test_refusals(text: str, code: str, column: int, words: str) -> None:
    with pytest.raises(MalformedInput) as caught:
        parse_schedule(text, source="schedule nightly")
    error = caught.value
    assert error.code == code, error
    assert error.position is not None
    assert (error.position.line, error.position.column) == (1, column), render_error(error)
    assert words in f"{error.message} {error.help}", error


# --- agreement with others, and with what is promised


def _field(first: int, last: int, *, star_only_alone: bool = False) -> st.SearchStrategy[str]:
    number = st.integers(first, last)
    ends = st.tuples(number, number).filter(lambda pair: pair[0] < pair[1])
    ranges = ends.map(lambda pair: f"{pair[0]}-{pair[1]}")
    stepped = st.tuples(ranges, st.integers(1, 9)).map(lambda pair: f"{pair[0]}/{pair[1]}")
    items = st.one_of(number.map(str), ranges, stepped)
    lists = st.lists(items, min_size=1, max_size=3).map(",".join)
    stars = st.just("*") if star_only_alone else st.one_of(st.just("*"), st.integers(2, 9).map(lambda n: f"*/{n}"))
    return st.one_of(stars, lists)


LINES = st.tuples(
    _field(0, 59),
    _field(0, 23),
    # The other implementation takes `*/2` beside a weekday as "and", as Debian does; the ecosystem takes it as "or".
    st.one_of(_field(1, 31, star_only_alone=True), st.just("L")),
    _field(1, 12),
    _field(0, 6, star_only_alone=True),
).map(" ".join)
ZONES = st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Pacific/Chatham"])
# Any time, and often a day or so before clocks change somewhere.
CHANGES = [
    datetime(2026, 3, 8, tzinfo=UTC),
    datetime(2026, 3, 29, tzinfo=UTC),
    datetime(2026, 4, 4, tzinfo=UTC),
    datetime(2026, 10, 3, tzinfo=UTC),
    datetime(2026, 10, 25, tzinfo=UTC),
    datetime(2026, 11, 1, tzinfo=UTC),
]
MOMENTS = st.one_of(
    st.integers(0, 4 * 365 * 86_400).map(lambda s: datetime(2024, 1, 1, tzinfo=UTC) + timedelta(seconds=s)),
    st.tuples(st.sampled_from(CHANGES), st.integers(-86_400, 86_400)).map(lambda p: p[0] + timedelta(seconds=p[1])),
)


@given(LINES, ZONES, MOMENTS)
def test_agreement_with_another_implementation(line: str, zone: str, moment: datetime) -> None:
    start = moment.astimezone(ZoneInfo(zone))
    try:
        theirs = CronSim(line, start)
        expected = [next(theirs).astimezone(UTC) for _ in range(3)]
    except (CronSimError, StopIteration):
        return
    schedule = parse_schedule(f"{line} {zone}", source="x")
    ours = []
    after = start.timestamp()
    for _ in expected:
        after = next_run(schedule, after)
        ours.append(datetime.fromtimestamp(after, UTC))
    assert ours == expected


@given(LINES, ZONES, MOMENTS)
def test_a_run_is_later_at_a_full_minute_and_the_first_one(line: str, zone: str, moment: datetime) -> None:
    try:
        schedule = parse_schedule(f"{line} {zone}", source="x")
    except MalformedInput as error:
        assert error.code == "schedule.never"
        return
    after = moment.timestamp()
    found = next_run(schedule, after)
    assert found > after
    assert found % 60 == 0
    between = moment + timedelta(seconds=(found - after) / 2)
    assert next_run(schedule, between.timestamp()) == found


@given(st.text(alphabet="0123456789*/-,#%+&L@ ~\nadhilmnorsuwy:", max_size=40))
def test_only_our_errors_come_out(text: str) -> None:
    try:
        schedule = parse_schedule(text, source="x")
        assert next_run(schedule, 1_700_000_000.0) > 1_700_000_000.0
    except MalformedInput as error:
        assert error.code.startswith("schedule.")
        assert error.position is None or render_error(error)
