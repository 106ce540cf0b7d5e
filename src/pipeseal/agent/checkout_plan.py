"""What to check out and how: what the job decides, what hooks have changed, and what the operator has set."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from pipeseal.agent.session import PhaseFailed
from pipeseal.agent.settings import AgentSettings
from pipeseal.policy.commit_signers import CommitSigners
from pipeseal.policy.patterns import Patterns

WORDS_FOR_TRUE = frozenset({"true", "1", "t", "yes", "on"})


class MirrorPlan(NamedTuple):
    """How a mirror of the repository is used.

    Parameters:
        folder: where mirrors are.
        skip_update: use it as it is.
        lock_seconds: how long to wait for another job that works on it.
        dissociate: copy objects out of it, instead of referring to them.
        clone_flags: the operator's, split like a shell does.
    """

    folder: Path
    skip_update: bool
    lock_seconds: float
    dissociate: bool
    clone_flags: str


class CheckoutPlan(NamedTuple):
    """What to check out and how.

    Parameters:
        repository: URL or path of the remote.
        commit: object id, another name of a commit, or `HEAD` (of the branch).
        branch, tag, refspec: what to fetch, each may be empty.
        pull_request: number of a pull request; empty or `false` when there is none.
        provider: where the repository is hosted, such as `github`.
        merge_refspec: check out a pull request as merged.
        depth: history to fetch, None for all of it.
        submodules: check out submodules too.
        submodule_config: `name=value` settings of git for cloning submodules.
        clone_flags, fetch_flags, checkout_flags, clean_flags: split like a shell does.
        skip_fetch_existing: do not fetch a commit that is there already.
        sparse_paths: check out these alone; empty for everything.
        sparse_mode: `cone` or `no-cone`.
        lfs: fetch files of git LFS.
        verification: `warn`, `strict` or `policy` when the commit has to be on the branch, see `commit_check`.
        attempts: how often to try.
        timeout_seconds: for one attempt; 0 for no limit.
        check_objects: hash what comes from a clone or mirror that jobs of before could write to.
        keyscan: believe the SSH host key of a host that is not known yet.
        mirror: None when there are no mirrors.
        tree: full object id of the tree that the commit must have; empty when nobody says.
        signers: by one of each of these the commit must be signed.
        submodule_sources: each of these must match where a submodule comes from.
        own_host: submodules may come from the host of `repository` alone.
    """

    repository: str
    commit: str = "HEAD"
    branch: str = ""
    tag: str = ""
    refspec: str = ""
    pull_request: str = ""
    provider: str = ""
    merge_refspec: bool = False
    depth: int | None = None
    submodules: bool = True
    submodule_config: tuple[str, ...] = ()
    clone_flags: str = "-v"
    fetch_flags: str = "-v --prune"
    checkout_flags: str = "-f"
    clean_flags: str = "-ffxdq"
    skip_fetch_existing: bool = False
    sparse_paths: tuple[str, ...] = ()
    sparse_mode: str = "cone"
    lfs: bool = False
    verification: str = ""
    attempts: int = 6
    timeout_seconds: float = 0.0
    check_objects: bool = True
    keyscan: bool = False
    mirror: MirrorPlan | None = None
    tree: str = ""
    signers: tuple[CommitSigners, ...] = ()
    submodule_sources: tuple[Patterns, ...] = ()
    own_host: bool = False

    @property
    def pull_refspec(self) -> str:
        """The reference of the pull request to check out; empty when it is none, or of another host."""
        if "github" not in self.provider or self.pull_request in {"", "false"}:
            return ""
        return f"refs/pull/{self.pull_request}/{'merge' if self.merge_refspec else 'head'}"


def complete_plan(plan: CheckoutPlan, variables: Mapping[str, str], settings: AgentSettings) -> CheckoutPlan:
    """The plan with what is not the job's alone to decide.

    Parameters:
        plan: what the job decides.
        variables: the job's variables as hooks have left them.
        settings: the operator's.

    Raises:
        PhaseFailed: a variable has a value that cannot be used.
    """
    paths = (path.strip() for path in variables.get("BUILDKITE_GIT_SPARSE_CHECKOUT_PATHS", "").split(","))
    mirrors = settings.git_mirrors_path
    mirror = None
    if mirrors is not None:
        mirror = MirrorPlan(
            folder=mirrors,
            skip_update=settings.git_mirrors_skip_update,
            lock_seconds=settings.git_mirrors_lock_timeout,
            dissociate=settings.git_mirror_checkout_mode == "dissociate",
            clone_flags=settings.git_clone_mirror_flags,
        )
    return plan._replace(
        repository=variables.get("BUILDKITE_REPO", ""),
        refspec=variables.get("BUILDKITE_REFSPEC", ""),
        submodules=is_true(variables.get("BUILDKITE_GIT_SUBMODULES", "true")),
        submodule_config=settings.git_submodule_clone_config,
        clone_flags=variables.get("BUILDKITE_GIT_CLONE_FLAGS", settings.git_clone_flags),
        fetch_flags=variables.get("BUILDKITE_GIT_FETCH_FLAGS", settings.git_fetch_flags),
        checkout_flags=variables.get("BUILDKITE_GIT_CHECKOUT_FLAGS", settings.git_checkout_flags),
        clean_flags=variables.get("BUILDKITE_GIT_CLEAN_FLAGS", settings.git_clean_flags),
        skip_fetch_existing=is_true(variables.get("BUILDKITE_GIT_SKIP_FETCH_EXISTING_COMMITS", "")),
        sparse_paths=tuple(path for path in paths if path),
        sparse_mode=_one_of(variables, "BUILDKITE_GIT_SPARSE_CHECKOUT_MODE", ("cone", "no-cone")),
        lfs=is_true(variables.get("BUILDKITE_GIT_LFS_ENABLED", "")),
        verification=_one_of(variables, "BUILDKITE_GIT_COMMIT_VERIFICATION", ("", "warn", "strict")),
        attempts=settings.checkout_attempts,
        timeout_seconds=_seconds(variables, "BUILDKITE_GIT_CHECKOUT_TIMEOUT"),
        check_objects=not settings.no_git_object_check,
        keyscan=settings.ssh_keyscan,
        mirror=mirror,
    )


def is_true(text: str) -> bool:
    """Whether a variable says yes, in any of the ways people write it."""
    return text.lower() in WORDS_FOR_TRUE


def _one_of(variables: Mapping[str, str], name: str, choices: tuple[str, ...]) -> str:
    value = variables.get(name) or choices[0]
    if value not in choices:
        raise PhaseFailed(f"{name} is {value!r}; it has to be {' or '.join(filter(None, choices))}")
    return value


def _seconds(variables: Mapping[str, str], name: str) -> float:
    value = variables.get(name) or "0"
    try:
        return max(float(value), 0.0)
    except ValueError:
        raise PhaseFailed(f"{name} is {value!r}, which is no number of seconds") from None
