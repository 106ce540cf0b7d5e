"""The property that covers most, against a real agent: what runs is a function of the sealed step and local settings.

Any field of the honest answer is changed, added or removed: the job is refused before anything of it starts, or it
runs as its honest twin does. The same of the plan alone, with many more changes: `tests/policy/test_plan.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeseal.lab.drill import Drill, Execution
from tests.policy.test_plan import change, changes

EXACT = "exact"


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Drill, Execution]]:
    """A drill with an agent whose jobs get no variable that is only the server's word, and its honest twin."""
    with Drill(tmp_path_factory.mktemp("drill") / "drill") as drill:
        text = drill.ground.policy().replace("version = 1\n", "version = 1\ninformational-variables = false\n")
        drill.start_agent(EXACT, policy_text=text)
        yield drill, drill.must_run(drill.send(drill.honest("sealed", EXACT), EXACT))


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(changed=st.lists(changes(), min_size=1, max_size=2))
def test_any_change_is_refused_or_changes_nothing(
    played: tuple[Drill, Execution], changed: list[tuple[str, str, Any]]
) -> None:
    drill, honest = played
    drill.ground.forget_notes()
    job = drill.honest("sealed", EXACT)
    job_id = str(job["id"])
    for where, name, value in changed:
        job = change(job, where, name, value)
    record = drill.send(job, EXACT, job_id=job_id)
    if record.code:
        drill.must_refuse(record)
    else:
        drill.must_be_alike(drill.must_run(record), honest)
    drill.must_be_clean()


def test_the_property_is_about_something(played: tuple[Drill, Execution]) -> None:
    """Another step runs otherwise, and some changes are not refused."""
    drill, honest = played
    other = drill.must_run(drill.send(drill.honest("shell", EXACT), EXACT))
    assert other.environment["BUILDKITE_COMMAND"] != honest.environment["BUILDKITE_COMMAND"]
    assert (
        honest.environment["SAFETY"] == "on"
        and honest.plugin
        and "BUILDKITE_PLUGIN_BANNER_TEXT=checked" in honest.plugin
    )
    job = change(drill.honest("sealed", EXACT), "env", "BUILDKITE_BUILD_NUMBER", "8")
    drill.must_be_alike(drill.must_run(drill.send(job, EXACT)), honest)
