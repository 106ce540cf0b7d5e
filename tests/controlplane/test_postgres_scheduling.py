"""What `test_scheduling` demands of the database, once more with PostgreSQL in SQLite's place."""

from tests.controlplane.postgres_server import on_postgresql as on_postgresql
from tests.controlplane.test_scheduling import (
    running as running,
)
from tests.controlplane.test_scheduling import (
    test_a_concurrency_group_is_never_exceeded as test_a_concurrency_group_is_never_exceeded,
)
from tests.controlplane.test_scheduling import (
    test_a_failed_job_is_retried_as_its_step_asks as test_a_failed_job_is_retried_as_its_step_asks,
)
from tests.controlplane.test_scheduling import (
    test_a_hundred_uploads_at_once_happen_once_each as test_a_hundred_uploads_at_once_happen_once_each,
)
from tests.controlplane.test_scheduling import (
    test_a_manual_retry_wakes_what_waited_in_vain as test_a_manual_retry_wakes_what_waited_in_vain,
)
from tests.controlplane.test_scheduling import (
    test_a_timeout_stops_the_job as test_a_timeout_stops_the_job,
)
from tests.controlplane.test_scheduling import (
    test_cancelling_ends_what_waits_and_stops_what_runs as test_cancelling_ends_what_waits_and_stops_what_runs,
)
from tests.controlplane.test_scheduling import (
    test_depends_on_goes_by_key_and_passes_barriers as test_depends_on_goes_by_key_and_passes_barriers,
)
from tests.controlplane.test_scheduling import (
    test_priority_goes_first_then_the_older_build as test_priority_goes_first_then_the_older_build,
)
from tests.controlplane.test_scheduling import (
    test_replace_takes_out_what_has_not_begun as test_replace_takes_out_what_has_not_begun,
)
