"""Logs and artifacts that are deleted, on PostgreSQL: the same tests, with the servers' memory there."""

from tests.controlplane.postgres_server import on_postgresql as on_postgresql
from tests.controlplane.test_deletions import *  # noqa: F403  (its tests and fixtures)
