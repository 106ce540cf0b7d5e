"""What a webhook asks for: a build, or nothing, with the reason."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pipeseal.pipeline.object_id import is_object_id

_SKIP = re.compile(r"\[(?:ci[ -]skip|skip[ -]ci)\]", re.IGNORECASE)
_MAX_MESSAGE = 65_536  # characters
_MAX_NAME = 512
_SHORT_ID = re.compile(r"[0-9a-f]{7,64}")
# git-check-ref-format(1), and no leading dash: such a name would be an option to somebody's command.
_BAD_NAME = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|^[-/.]|[/.]$|/\.|\.lock(?:/|$)|^@$")
_BRANCH, _TAG = "refs/heads/", "refs/tags/"


@dataclass(frozen=True, slots=True)
class PullRequest:
    """The pull request (or merge request) a build is of.

    Parameters:
        number: within its repository.
        base_branch: branch it would be merged into.
        draft: None when the provider does not say.
        label: the one that was just added or removed; None for other events.
        repository: clone URL of the repository it comes from; empty when that is gone or not said.
        is_fork: that repository is another one than the pipeline's; true when it cannot be told.
        owner: account that owns the repository it comes from; empty when not said.
    """

    number: int
    base_branch: str
    repository: str
    is_fork: bool
    draft: bool | None = None
    labels: tuple[str, ...] = ()
    label: str | None = None
    owner: str = ""


@dataclass(frozen=True, slots=True)
class BuildRequest:
    """A build that a webhook asks for. All of it is what the sender of the push chose to say.

    Parameters:
        event: `push`, `tag` or `pull_request`.
        commit: object id; abbreviated where the provider sends no more.
        branch: name of the branch; of a tag, the tag's name.
        tag: empty when the build is of no tag.
        message: of the commit, or the title of the pull request; cut at 65,536 characters.
        repositories: URLs of the repository the delivery is about; empty when it does not say.
        source_event: the provider's name for what happened.
        source_action: the provider's name for what was done; None when there is none.
        base_branch_changed: the pull request was only moved to another base branch.
    """

    event: str
    commit: str
    branch: str
    tag: str = ""
    message: str = ""
    author_name: str = ""
    author_email: str = ""
    pull_request: PullRequest | None = None
    repositories: tuple[str, ...] = ()
    source_event: str = ""
    source_action: str | None = None
    base_branch_changed: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "message", self.message[:_MAX_MESSAGE])
        object.__setattr__(self, "author_name", self.author_name[:_MAX_NAME])
        object.__setattr__(self, "author_email", self.author_email[:_MAX_NAME])


@dataclass(frozen=True, slots=True)
class Ignored:
    """Nothing is built.

    Parameters:
        reason: why, as a sentence without a full stop, for the answer to the provider and for the log.
        deleted_branch: the branch that was deleted, when that is the reason; its builds may be cancelled.
    """

    reason: str
    deleted_branch: str | None = None


Outcome = BuildRequest | Ignored


def asks_to_skip(text: str) -> bool:
    """Whether a commit's message or a pull request's title says `[ci skip]`, `[skip ci]` or either with a dash."""
    return _SKIP.search(text) is not None


def is_null_id(commit: str) -> bool:
    """Whether an object id is all zeros: there is no object, the branch was made or deleted."""
    return not commit.strip("0")


@dataclass(frozen=True, slots=True)
class PushedRef:
    """A branch or tag that was moved, as every provider tells it in some form.

    Parameters:
        ref: full name, such as `refs/heads/main`.
        commit: the commit it points to now; of an annotated tag, the commit behind the tag.
    """

    ref: str
    commit: str
    message: str = ""
    author_name: str = ""
    author_email: str = ""
    repositories: tuple[str, ...] = ()
    source_event: str = "push"

    def outcome(self) -> Outcome:
        """What comes of it."""
        is_branch = self.ref.startswith(_BRANCH)
        if not is_branch and not self.ref.startswith(_TAG):
            return Ignored(f"{self.ref[:200]!r} is neither a branch nor a tag")
        name = self.ref.removeprefix(_BRANCH if is_branch else _TAG)
        what = "branch" if is_branch else "tag"
        if not is_usable_name(name):
            return Ignored(f"{name[:200]!r} cannot be the name of a {what}")
        if is_null_id(self.commit):
            return Ignored(f"the {what} {name!r} was deleted", name if is_branch else None)
        if not is_commit(self.commit):
            return Ignored(f"{self.commit[:80]!r} is no commit")
        if asks_to_skip(self.message):
            return Ignored("the commit's message asks to skip it")
        return BuildRequest(
            event="push" if is_branch else "tag",
            commit=self.commit,
            branch=name,
            tag="" if is_branch else name,
            message=self.message,
            author_name=self.author_name,
            author_email=self.author_email,
            repositories=self.repositories,
            source_event=self.source_event,
        )


@dataclass(frozen=True, slots=True)
class ChangedPullRequest:
    """A pull request that was opened or changed, as every provider tells it in some form."""

    pull_request: PullRequest
    commit: str
    branch: str
    title: str
    source_event: str
    source_action: str
    author_name: str = ""
    author_email: str = ""
    repositories: tuple[str, ...] = ()
    base_branch_changed: bool = False

    def outcome(self) -> Outcome:
        """What comes of it."""
        for what, name in (("branch", self.branch), ("base branch", self.pull_request.base_branch)):
            if not is_usable_name(name):
                return Ignored(f"{name[:200]!r} cannot be the name of a {what}")
        if is_null_id(self.commit) or not is_commit(self.commit, abbreviated=True):
            return Ignored(f"{self.commit[:80]!r} is no commit")
        if asks_to_skip(self.title):
            return Ignored("the pull request's title asks to skip it")
        return BuildRequest(
            event="pull_request",
            commit=self.commit,
            branch=self.branch,
            message=self.title,
            author_name=self.author_name,
            author_email=self.author_email,
            pull_request=self.pull_request,
            repositories=self.repositories,
            source_event=self.source_event,
            source_action=self.source_action,
            base_branch_changed=self.base_branch_changed,
        )


def is_usable_name(name: str) -> bool:
    """Whether git, and a command line, take `name` for a branch or a tag."""
    return 0 < len(name) <= _MAX_NAME and not _BAD_NAME.search(name)


def is_commit(text: str, *, abbreviated: bool = False) -> bool:
    """Whether `text` is an object id; perhaps an abbreviated one."""
    return _SHORT_ID.fullmatch(text) is not None if abbreviated else is_object_id(text)
