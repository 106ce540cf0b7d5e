"""What commands inside a job ask, on PostgreSQL: the tests of the endpoints, with their memory there."""

from tests.controlplane.postgres_server import on_postgresql as on_postgresql
from tests.controlplane.test_agent_control import *  # noqa: F403  (its tests and fixtures)
