"""What `test_logs` demands of the database, once more with PostgreSQL in SQLite's place."""

from tests.controlplane.postgres_server import on_postgresql as on_postgresql
from tests.controlplane.test_logs import (
    running as running,
)
from tests.controlplane.test_logs import (
    test_a_chunk_that_could_not_be_written_may_come_again as test_a_chunk_that_could_not_be_written_may_come_again,
)
from tests.controlplane.test_logs import (
    test_a_log_can_be_followed_while_it_grows as test_a_log_can_be_followed_while_it_grows,
)
from tests.controlplane.test_logs import (
    test_bytes_once_stored_are_never_changed as test_bytes_once_stored_are_never_changed,
)
from tests.controlplane.test_logs import (
    test_chunks_out_of_order_and_twice_make_one_log as test_chunks_out_of_order_and_twice_make_one_log,
)
from tests.controlplane.test_logs import test_ranges as test_ranges
from tests.controlplane.test_logs import (
    test_what_never_came_is_marked_and_later_bytes_stay_in_place as test_what_never_came_is_marked,  # noqa: F401  (collected here under a shorter name)
)
