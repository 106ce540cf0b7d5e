"""The phases of a job and their order, as one table, and the walk through it.

Everything happens in this process: for each hook, command and git call a child is started, and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from pipeseal.agent.checkout import MetaData, check_out, empty_directory, report_commit
from pipeseal.agent.checkout_plan import CheckoutPlan, complete_plan, is_true
from pipeseal.agent.command import prepare_command
from pipeseal.agent.hooks import Hook, find_hook, run_hook
from pipeseal.agent.job_client import JobClient
from pipeseal.agent.keep_artifacts import PATHS, ArtifactPaths, keep_artifacts
from pipeseal.agent.plugins import (
    Plugin,
    PluginCheckout,
    fetch_plugin,
    find_vendored_plugin,
    plugin_environment,
    read_plugins,
)
from pipeseal.agent.processes import Ended
from pipeseal.agent.secrets import fetch_secrets
from pipeseal.agent.session import JobSession, PhaseFailed
from pipeseal.agent.settings import AgentSettings
from pipeseal.agent.tracing import span_of
from pipeseal.pipeline.steps import Secret
from pipeseal.policy.proof import Execution
from pipeseal.policy.rules import NO_LIMITS, Limits
from pipeseal.signing.seal.envelope import ResolvedPlugin

if TYPE_CHECKING:
    from pipeseal.agent.ledger.started import StartedJob

AGENT, REPOSITORY, PLUGIN = "agent", "repository", "plugin"


class Runs(Enum):
    """When a stage runs."""

    WHILE_WELL = "as long as nothing failed"
    AFTER_COMMAND = "if the command was run, whether it failed or not"
    WITH_ARTIFACTS = "if the command was run, whether it failed or not, and there are artifact paths"
    ALWAYS = "always"


class Stage(NamedTuple):
    """One row of the table.

    Parameters:
        phase: which phase it belongs to.
        does: name of a hook, or of an action in capitals.
        scopes: whose hooks of that name run, in this order; for `COMMAND` and `CHECKOUT`: whose hook replaces the
            default, the first scope that has one.
        runs: when.
    """

    phase: str
    does: str
    scopes: tuple[str, ...] = ()
    runs: Runs = Runs.WHILE_WELL


LIFECYCLE: tuple[Stage, ...] = (
    Stage("environment", "FETCH_SECRETS"),
    Stage("environment", "environment", (AGENT,)),
    Stage("plugin", "FETCH_PLUGINS"),
    Stage("plugin", "environment", (PLUGIN,)),
    Stage("checkout", "pre-checkout", (AGENT, PLUGIN)),
    Stage("checkout", "CHECKOUT", (PLUGIN, AGENT)),
    Stage("checkout", "post-checkout", (AGENT, REPOSITORY, PLUGIN)),
    Stage("plugin", "FIND_VENDORED_PLUGINS"),
    Stage("command", "pre-command", (AGENT, REPOSITORY, PLUGIN)),
    Stage("command", "COMMAND", (PLUGIN, REPOSITORY, AGENT)),
    Stage("command", "post-command", (AGENT, REPOSITORY, PLUGIN), Runs.AFTER_COMMAND),
    Stage("artifact", "pre-artifact", (AGENT, REPOSITORY, PLUGIN), Runs.WITH_ARTIFACTS),
    Stage("artifact", "KEEP_ARTIFACTS", (), Runs.WITH_ARTIFACTS),
    Stage("artifact", "post-artifact", (AGENT, REPOSITORY, PLUGIN), Runs.WITH_ARTIFACTS),
    Stage("teardown", "pre-exit", (AGENT, REPOSITORY, PLUGIN), Runs.ALWAYS),
)


# What a trace calls the actions.
_SPANS = {
    "FETCH_SECRETS": "secrets",
    "FETCH_PLUGINS": "plugins",
    "CHECKOUT": "checkout",
    "FIND_VENDORED_PLUGINS": "vendored plugins",
    "COMMAND": "command",
    "KEEP_ARTIFACTS": "artifacts",
}


class JobWork(NamedTuple):
    """What a job is to do, as approved.

    Parameters:
        command: its command text; may be empty when a hook supplies one.
        plugins: full source and configuration of each, in order.
        checkout: the plan as far as the job decides it.
        skip_checkout: the step asks for no checkout.
        reports_commit: the server wants to know the commit.
        secrets: what the step wants to be given.
        artifact_paths: what the job came with.
        limits: what the policy asks the runner to see to.
        execution: how the command is run.
        sealed_plugins: what each plugin's version stood for when it was sealed; None where nobody said.
    """

    command: str
    plugins: list[tuple[str, object]]
    checkout: CheckoutPlan
    skip_checkout: bool
    reports_commit: bool
    secrets: list[Secret]
    artifact_paths: ArtifactPaths
    limits: Limits = NO_LIMITS
    execution: Execution = "either"
    sealed_plugins: tuple[ResolvedPlugin | None, ...] = ()


class Lifecycle:
    """One walk through the table.

    Parameters:
        session: the job's state.
        settings: the operator's.
        started: what to do and where; that it starts is written down.
        client: calls with the job's token.
        job_id: the job.
    """

    def __init__(
        self,
        session: JobSession,
        settings: AgentSettings,
        started: StartedJob,
        *,
        client: JobClient,
        job_id: str,
    ) -> None:
        self._session = session
        self._settings = settings
        plan = started.plan
        self._work = plan.work
        self._checkout_path = plan.checkout_path
        self._plugins_path = plan.plugins_path
        self._client = client
        self._job_id = job_id
        self._plugins: list[Plugin] = []
        self._checkouts: list[PluginCheckout] = []
        self._command_ended: Ended | None = None
        # The first failure of each sort; which of them decides is said in `_ended`.
        self._failure: PhaseFailed | None = None
        self._artifact_failure: PhaseFailed | None = None
        self._teardown_failure: PhaseFailed | None = None
        self._actions: dict[str, Callable[[Stage], None]] = {
            "FETCH_SECRETS": self._fetch_secrets,
            "FETCH_PLUGINS": self._fetch_plugins,
            "CHECKOUT": self._check_out,
            "FIND_VENDORED_PLUGINS": self._find_vendored_plugins,
            "COMMAND": self._command,
            "KEEP_ARTIFACTS": self._keep_artifacts,
        }

    def run(self) -> tuple[Ended, str]:
        """Walk through the table.

        Returns:
            How the job ended, and the signal reason to report; empty when there is none.
        """
        for stage in LIFECYCLE:
            if not self._is_due(stage):
                continue
            # From the command on, stages also run in the grace period of a job that is cancelled.
            self._session.cancellation.is_ending = stage.runs is not Runs.WHILE_WELL
            try:
                action = self._actions.get(stage.does)
                if action is not None:
                    self._act(action, stage)
                else:
                    self._run_hooks(stage.does, stage.scopes)
            except (PhaseFailed, OSError) as error:
                self._note(stage, error if isinstance(error, PhaseFailed) else PhaseFailed(f"{stage.phase}: {error}"))
        return self._ended()

    def _act(self, action: Callable[[Stage], None], stage: Stage) -> None:
        trace = self._session.trace
        if trace is None or not self._has_work(stage):
            action(stage)
            return
        with span_of(trace, _SPANS[stage.does]) as span:
            action(stage)
            if stage.does == "COMMAND" and self._command_ended is not None:
                span.end(self._command_ended.status)

    def _has_work(self, stage: Stage) -> bool:
        """Whether an action has anything to do: a span of nothing tells nothing."""
        match stage.does:
            case "FETCH_SECRETS":
                return bool(self._work.secrets)
            case "FETCH_PLUGINS":
                return bool(self._work.plugins)
            case "FIND_VENDORED_PLUGINS":
                return any(plugin.place.is_vendored for plugin in self._plugins)
        return True

    def _is_due(self, stage: Stage) -> bool:
        match stage.runs:
            case Runs.WHILE_WELL:
                return self._failure is None and not self._session.cancellation.requested.is_set()
            case Runs.AFTER_COMMAND:
                return self._command_ended is not None
            case Runs.WITH_ARTIFACTS:
                wanted = self._session.environment.get(PATHS, "").strip()
                return bool(wanted) and self._command_ended is not None and self._artifact_failure is None
            case Runs.ALWAYS:
                return True

    def _note(self, stage: Stage, failure: PhaseFailed) -> None:
        if not self._session.cancellation.requested.is_set():
            self._session.log.error(str(failure))
        if stage.runs is Runs.ALWAYS:
            self._teardown_failure = self._teardown_failure or failure
        elif stage.runs is Runs.WITH_ARTIFACTS:
            self._artifact_failure = failure
        else:
            self._failure = self._failure or failure

    @property
    def refusal(self) -> PhaseFailed | None:
        """The phase that found out that this job must not run; None when none did."""
        return self._failure if self._failure is not None and self._failure.code else None

    def _ended(self) -> tuple[Ended, str]:
        """A failing pre-exit hook decides; else the phase that failed; else the command; else its artifacts."""
        command = self._command_ended or Ended(0)
        decisive = self._teardown_failure or self._failure
        if decisive is None and command.status == 0:
            decisive = self._artifact_failure
        if decisive is None:
            return command, ""
        return decisive.ended or Ended(decisive.status), decisive.signal_reason

    # --- hooks --------------------------------------------------------------------------------------------------

    def _hooks_of(self, name: str, scope: str) -> list[tuple[Hook, dict[str, str]]]:
        """The hooks of a scope, in order, each with its own variables."""
        if scope == AGENT:
            folders = [self._settings.hooks_path, *self._settings.additional_hooks_paths]
            found = [find_hook(folder, name, scope) for folder in folders if folder is not None]
            return [(hook, {}) for hook in found if hook is not None]
        if scope == REPOSITORY:
            folder = self._checkout_path / ".buildkite" / "hooks"
            hook = find_hook(folder, name, scope, inside=self._checkout_path)
            if hook is None:
                return []
            switched_off = self._session.environment.get("BUILDKITE_NO_LOCAL_HOOKS") in {"true", "1"}
            if not self._work.limits.repository_hooks or switched_off:
                raise PhaseFailed(f"refusing to run {hook.path}: repository hooks are off on this agent")
            return [(hook, {})]
        hooks = []
        for checkout in self._checkouts:
            place = checkout.plugin.place
            hook = find_hook(checkout.hooks, name, scope, inside=checkout.root, plugin=place.name)
            if hook is not None:
                variables, warning = plugin_environment(checkout.plugin)
                if warning:
                    self._session.log.warning(warning)
                hooks.append((hook, variables))
        return hooks

    def _run_hooks(self, name: str, scopes: tuple[str, ...]) -> None:
        for scope in scopes:
            for hook, variables in self._hooks_of(name, scope):
                run_hook(self._session, hook, variables)

    def _replacement(self, stage: Stage) -> list[tuple[Hook, dict[str, str]]]:
        """The hooks that replace a default; empty when nobody has one."""
        name = stage.does.lower()
        for scope in stage.scopes:
            hooks = self._hooks_of(name, scope)
            if len(hooks) > 1 and scope == PLUGIN:
                others = ", ".join(hook.plugin for hook, _ in hooks[1:])
                if self._settings.strict_single_hooks:
                    self._session.log.warning(f"Ignoring the additional {name} hooks of {others}")
                    return hooks[:1]
                self._session.log.warning(
                    f"Several plugins have a {name} hook and all run, {others} too; "
                    "set strict-single-hooks to run the first alone"
                )
            if hooks:
                return hooks
        return []

    # --- secrets and artifacts ----------------------------------------------------------------------------------

    def _fetch_secrets(self, _stage: Stage) -> None:
        if self._work.secrets:
            fetch_secrets(self._session, self._work.secrets, self._client, self._job_id)

    def _keep_artifacts(self, _stage: Stage) -> None:
        keep_artifacts(
            self._session,
            self._work.artifact_paths,
            self._settings,
            self._client,
            self._job_id,
            self._checkout_path,
        )

    # --- plugins ------------------------------------------------------------------------------------------------

    def _fetch_plugins(self, _stage: Stage) -> None:
        if not self._work.plugins:
            return
        self._session.log.header("Preparing plugins")
        self._plugins = read_plugins(self._work.plugins)
        fetched: dict[tuple[str, ResolvedPlugin | None], PluginCheckout] = {}
        sealed = self._work.sealed_plugins or (None,) * len(self._plugins)
        for plugin, pinned in zip(self._plugins, sealed, strict=True):
            if plugin.place.is_vendored:
                continue
            label = (plugin.place.label, pinned)
            if label not in fetched:
                fetched[label] = fetch_plugin(
                    self._session,
                    plugin,
                    self._plugins_path,
                    fresh=self._settings.plugins_always_clone_fresh,
                    wait=self._session.cancellation.requested.wait,
                    sealed=pinned,
                )
            self._checkouts.append(fetched[label]._replace(plugin=plugin))

    def _find_vendored_plugins(self, _stage: Stage) -> None:
        vendored = [
            find_vendored_plugin(plugin, self._checkout_path) for plugin in self._plugins if plugin.place.is_vendored
        ]
        everything, self._checkouts = self._checkouts + vendored, vendored
        try:
            self._run_hooks("environment", (PLUGIN,))
        finally:
            self._checkouts = everything

    # --- checkout -----------------------------------------------------------------------------------------------

    def _check_out(self, stage: Stage) -> None:
        session = self._session
        self._checkout_path.mkdir(parents=True, exist_ok=True)
        if is_true(session.environment.get("BUILDKITE_CLEAN_CHECKOUT", "")):
            session.log.header("Cleaning pipeline checkout")
            empty_directory(self._checkout_path)
        session.directory = self._checkout_path
        replacement = self._replacement(stage)
        if replacement:
            for hook, extra in replacement:
                run_hook(session, hook, extra)
            return
        variables = session.environment
        if self._work.skip_checkout or is_true(variables.get("BUILDKITE_SKIP_CHECKOUT", "")):
            session.log.comment("Skipping the checkout, as the step or this agent's settings say")
            return
        session.log.header("Preparing working directory")
        if variables.get("BUILDKITE_GIT_SSH_KEY"):
            session.log.warning(
                "BUILDKITE_GIT_SSH_KEY is not supported by this agent, and ignored: it uses its own key"
            )
        plan = complete_plan(self._work.checkout, variables, self._settings)
        if self._work.limits.on_branch:
            plan = plan._replace(verification="policy")
        limits = self._work.limits
        plan = plan._replace(
            signers=limits.commit_signers, submodule_sources=limits.submodules, own_host=limits.own_host
        )
        wait = session.cancellation.requested.wait
        commit = check_out(session, plan, self._checkout_path, wait=wait)
        if self._work.reports_commit:
            meta_data = MetaData(
                has=lambda key: self._client.has_meta_data(self._job_id, key),
                set=lambda key, value: self._client.set_meta_data(self._job_id, key, value),
            )
            report_commit(session, self._checkout_path, commit, meta_data)

    # --- command ------------------------------------------------------------------------------------------------

    def _command(self, stage: Stage) -> None:
        replacement = self._replacement(stage)
        if replacement:
            self._command_ended = Ended(0)
            for hook, extra in replacement:
                try:
                    run_hook(self._session, hook, extra)
                except PhaseFailed as error:
                    self._finish_command(error.ended or Ended(error.status))
                    return
            self._finish_command(Ended(0))
            return
        arguments = prepare_command(
            self._session,
            self._work.command,
            self._settings,
            self._checkout_path,
            execution=self._work.execution,
            scripts_only=self._work.limits.scripts_only,
        )
        self._finish_command(self._session.run(arguments))

    def _finish_command(self, ended: Ended) -> None:
        self._command_ended = ended
        self._session.change({"BUILDKITE_COMMAND_EXIT_STATUS": str(ended.status)})
        if ended.status != 0:
            how = f"was killed by {ended.signal_name}" if ended.signal else f"exited with status {ended.status}"
            self._session.log.lines(f"^^^ +++\n\x1b[31m🚨 Error: The command {how}\x1b[0m")
