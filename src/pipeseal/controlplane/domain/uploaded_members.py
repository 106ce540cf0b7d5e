"""The members of an uploaded pipeline that scheduling reads, as they come; what they mean is in `expand`."""

from __future__ import annotations

from typing import Any

import msgspec


class PipelineMembers(msgspec.Struct):
    """Of the top of a pipeline."""

    steps: list[msgspec.Raw] | None = None
    env: dict[str, Any] | None = None
    checkout: msgspec.Raw = msgspec.Raw()
    agents: Any = None
    secrets: Any = None
    priority: Any = None
    notify: msgspec.Raw = msgspec.Raw()


class GroupMembers(msgspec.Struct):
    """Of a group, what is in it."""

    steps: list[msgspec.Raw] | None = None


class StepMembers(msgspec.Struct, kw_only=True):
    """Of a step, those that concern scheduling; types are checked one by one, for errors that say where."""

    key: Any = None
    id: Any = None
    identifier: Any = None
    label: Any = None
    name: Any = None
    depends_on: Any = msgspec.UNSET
    allow_dependency_failure: Any = None
    continue_on_failure: Any = None
    skip: Any = None
    branches: Any = None
    if_: Any = msgspec.field(name="if", default=None)
    agents: Any = None
    priority: Any = None
    parallelism: Any = None
    concurrency: Any = None
    concurrency_group: Any = None
    concurrency_method: Any = None
    cancel_on_build_failing: Any = None
    timeout_in_minutes: Any = None
    retry: Any = None
    soft_fail: Any = None
    matrix: Any = None
    artifact_paths: Any = None
    group: Any = None
    block: Any = None
    input: Any = None
    manual: Any = None
    trigger: Any = None
    build: Any = None
    async_: Any = msgspec.field(name="async", default=None)
    notify: Any = None
    fields: Any = None
    blocked_state: Any = None
