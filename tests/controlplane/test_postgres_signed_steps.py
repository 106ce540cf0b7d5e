"""What readers check signatures with, from a server on PostgreSQL: the same answers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.controlplane.postgres_server import fresh_database
from tests.controlplane.running import QUICK, Api, running_server
from tests.controlplane.test_decisions import test_agent_shows_the_mode_that_it_told_of_last as test_mode
from tests.controlplane.test_decisions import test_job_shows_what_its_agent_told as test_decision
from tests.controlplane.test_decisions import (
    test_list_of_pipelines_says_what_is_signed_and_which_modes_were_told as test_list,
)
from tests.controlplane.test_decisions import (
    test_no_token_but_the_jobs_own_marks_it_and_nobody_marks_it_twice as test_tokens,
)
from tests.controlplane.test_decisions import (
    test_report_groups_by_code_and_step_and_counts_agents_by_mode as test_groups,
)
from tests.controlplane.test_signed_steps import test_key_lives_is_revoked_and_forgotten as test_key_lives
from tests.controlplane.test_signed_steps import test_key_says_what_names_it as test_key_uses
from tests.controlplane.test_signed_steps import test_pages_of_signed_steps_follow_the_build as test_pages
from tests.controlplane.test_signed_steps import (
    test_report_counts_steps_by_what_they_carry_and_refusals_by_code as test_report,
)

__all__ = [
    "test_decision", "test_groups", "test_key_lives", "test_key_uses", "test_list", "test_mode", "test_pages",
    "test_report", "test_tokens",
]  # fmt: skip


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    folder = tmp_path_factory.mktemp("signed") / "data"
    with fresh_database() as url, running_server(folder, QUICK, database_url=url) as running:
        yield running.api
