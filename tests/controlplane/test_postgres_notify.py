"""What `test_notify` demands, once more with PostgreSQL in SQLite's place."""

from tests.controlplane.postgres_server import on_postgresql as on_postgresql
from tests.controlplane.test_notify import *  # noqa: F403  (its tests and fixtures, to be collected here)
