"""What a job will run, as one value: variables, folders, command, plugins and checkout, before anything is done.

A pure function of the approved job and of what is configured on this agent. For a proven job every member but the
informational variables comes from the proof; whatever else a server sends, the plan stays the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeseal.agent.checkout_plan import CheckoutPlan
from pipeseal.agent.environment import JobEnvironment
from pipeseal.agent.jobenvironment import AgentFacts, compose_environment, path_segment
from pipeseal.agent.keep_artifacts import PATHS, ArtifactPaths
from pipeseal.agent.lifecycle import JobWork
from pipeseal.agent.settings import AgentSettings
from pipeseal.policy.decision import ApprovedJob


@dataclass(frozen=True, slots=True)
class JobPlan:
    """What a job will run.

    Parameters:
        environment: its variables.
        work: its phases.
        checkout_path: the folder it works in.
        plugins_path: the folder its plugins are in.
        texts: free text, by the name of the variable that will name the file.
    """

    environment: JobEnvironment
    work: JobWork
    checkout_path: Path
    plugins_path: Path
    texts: Mapping[str, str]


def plan_job(approved: ApprovedJob, settings: AgentSettings, agent: AgentFacts, base: Mapping[str, str]) -> JobPlan:
    """The plan for an approved job.

    Parameters:
        approved: the job.
        settings: the operator's.
        agent: the agent, as its jobs see it.
        base: variables of the agent that every job gets.

    Raises:
        VerificationError: as `compose_environment`.
    """
    environment = compose_environment(approved, settings, agent, base)
    checkout = approved.checkout
    work = JobWork(
        command=approved.command,
        plugins=[(plugin.source, plugin.config) for plugin in approved.plugins],
        checkout=CheckoutPlan(
            repository=approved.repository_url,
            commit=approved.commit or "HEAD",
            branch=approved.branch,
            tag=approved.env.get("BUILDKITE_TAG", ""),
            pull_request=approved.env.get("BUILDKITE_PULL_REQUEST", ""),
            provider=approved.env.get("BUILDKITE_PIPELINE_PROVIDER", ""),
            merge_refspec=approved.env.get("BUILDKITE_PULL_REQUEST_USING_MERGE_REFSPEC") == "true",
            depth=checkout.depth if checkout is not None else None,
            tree=approved.tree,
        ),
        skip_checkout=settings.skip_checkout or (checkout is not None and bool(checkout.skip)),
        reports_commit=approved.env.get("BUILDKITE_COMMIT_RESOLVED") != "true",
        secrets=list(approved.step.secrets),
        artifact_paths=ArtifactPaths(
            environment.values.get(PATHS, ""),
            is_proven=approved.verified is not None and PATHS in approved.proven_variables,
        ),
        limits=approved.limits,
        execution=approved.execution,
        sealed_plugins=approved.resolved,
    )
    return JobPlan(
        environment=environment,
        work=work,
        checkout_path=Path(environment.values["BUILDKITE_BUILD_CHECKOUT_PATH"]),
        plugins_path=settings.plugins_path / path_segment(agent.folder),
        texts={f"{name}_FILE": text for name, text in approved.texts.items()},
    )
