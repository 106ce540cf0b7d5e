"""What is sent to the REST API: one type for each JSON body. A null is as good as nothing, as in the ecosystem."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from pipeseal.controlplane.domain.pipeline_settings import PipelineSettings
from pipeseal.errors import MalformedInput


class SettingsChanges(msgspec.Struct, kw_only=True):
    """Settings of a pipeline; a null is the default again, what is not there stays as it is."""

    branch_configuration: str | msgspec.UnsetType | None = msgspec.UNSET
    skip_queued_branch_builds: bool | msgspec.UnsetType | None = msgspec.UNSET
    skip_queued_branch_builds_filter: str | msgspec.UnsetType | None = msgspec.UNSET
    cancel_running_branch_builds: bool | msgspec.UnsetType | None = msgspec.UNSET
    cancel_running_branch_builds_filter: str | msgspec.UnsetType | None = msgspec.UNSET
    provider_settings: dict[str, Any] | msgspec.UnsetType | None = msgspec.UNSET

    def revise(self, settings: PipelineSettings) -> PipelineSettings:
        """`settings` with the changes.

        Raises:
            MalformedInput: `request.malformed`, `provider_settings` has something else than it can have.
        """
        kept = msgspec.to_builtins(settings)
        for name in SettingsChanges.__struct_fields__:
            value = getattr(self, name)
            if isinstance(value, dict):
                kept[name] |= value
            elif value is None:
                del kept[name]
            elif value is not msgspec.UNSET:
                kept[name] = value
        try:
            return msgspec.convert(kept, PipelineSettings)
        except msgspec.ValidationError as error:
            raise MalformedInput("request.malformed", f"the settings cannot be used: {error}") from error


class NewPipeline(SettingsChanges, kw_only=True):
    """A pipeline to be made. Its steps are YAML text in `configuration`; `steps` is refused."""

    name: str
    repository: str
    configuration: str = ""
    slug: str = ""
    default_branch: str | None = None
    description: str | None = None
    steps: Any = None


class PipelineChanges(SettingsChanges, kw_only=True):
    """What is to change of a pipeline; what is not there stays as it is.

    A pipeline that becomes public shows strangers the builds made from `now` on, unless `public_since` is `all`.
    """

    name: str | None = None
    repository: str | None = None
    configuration: str | None = None
    default_branch: str | None = None
    description: str | None = None
    visibility: str | None = None
    public_since: Literal["now", "all"] = "now"


class OrganizationChanges(msgspec.Struct):
    """What is to change of the organisation."""

    public_pipelines: bool


class Author(msgspec.Struct):
    """Who wrote what a build is of; only the name is kept."""

    name: str | None = None
    email: str | None = None


class NewBuildBody(msgspec.Struct):
    """A build to be made. Without a commit it is of `HEAD`, without a branch of the pipeline's default branch."""

    commit: str | None = None
    branch: str | None = None
    message: str | None = None
    tag: str | None = None
    author: Author | None = None
    env: dict[str, str] | None = None
    meta_data: dict[str, str] | None = None
    pull_request_id: int | str | None = None


class UnblockBody(msgspec.Struct):
    """Answers to the fields of a block or input step, and who gives them: a name, an address or an id."""

    fields: dict[str, str] | None = None
    unblocker: str | None = None


class RetryFailedBody(msgspec.Struct):
    """Which jobs run again: `failed`, `soft_failed`, `timed_out`, `canceled`, `expired`; all of these unless said."""

    states: list[str] | None = None


class PauseBody(msgspec.Struct):
    """Why an agent is paused, for whoever looks at it."""

    note: str | None = None


class StopBody(msgspec.Struct):
    """Whether an agent's job is stopped too; without `force` the agent finishes it first."""

    force: bool = False


class NewAnnotation(msgspec.Struct):
    """A note on a build. One with a context that is known takes the place of the one before, or is added to it."""

    body: str
    style: str | None = None
    context: str | None = None
    append: bool = False
    priority: int | None = None


class SecretValue(msgspec.Struct):
    """A secret; `pipelines` are the slugs of those that may have it, all when there are none."""

    value: str
    description: str = ""
    pipelines: list[str] | None = None


class NewWebhook(msgspec.Struct):
    """A webhook to be made. Without a secret one is made up."""

    provider: str
    secret: str = ""


class WebhookSecret(msgspec.Struct):
    """Another secret for a webhook. Without one it is made up."""

    secret: str = ""
