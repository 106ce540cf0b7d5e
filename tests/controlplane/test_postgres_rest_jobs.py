"""Jobs of a build over the REST API, on PostgreSQL: the tests of the endpoints, with their memory there."""

from tests.controlplane.postgres_server import on_postgresql as on_postgresql
from tests.controlplane.test_rest_jobs import *  # noqa: F403  (its tests and fixtures)
