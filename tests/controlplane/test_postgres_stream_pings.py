"""What `test_stream_pings` demands, once more with PostgreSQL in SQLite's place."""

from tests.controlplane.postgres_server import on_postgresql as on_postgresql
from tests.controlplane.test_stream_pings import *  # noqa: F403  (its tests and fixtures, to be collected here)
