"""What trigger steps, webhooks and concurrency groups demand, once more with PostgreSQL in SQLite's place."""

from tests.controlplane.postgres_server import on_postgresql as on_postgresql
from tests.controlplane.test_concurrency import *  # noqa: F403  (its tests and fixtures, to be collected here)
from tests.controlplane.test_trigger import *  # noqa: F403
from tests.controlplane.test_webhooks_http import (
    test_a_delivery_counts_once_however_often_it_comes as test_a_delivery_counts_once_however_often_it_comes,
)
from tests.controlplane.test_webhooks_http import (
    test_secrets_are_changed_without_a_gap_and_webhooks_removed as test_secrets_are_changed_without_a_gap,
)

__all__ = ["test_a_delivery_counts_once_however_often_it_comes", "test_secrets_are_changed_without_a_gap"]
