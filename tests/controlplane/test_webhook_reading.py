"""What each provider's deliveries come to: builds with the right commit and branch, or nothing with a reason."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeseal.controlplane.domain.webhooks import (
    BuildRequest,
    Ignored,
    Provider,
    PullRequest,
    read_webhook,
    same_repository,
)
from pipeseal.controlplane.domain.webhooks.outcomes import asks_to_skip, is_usable_name
from pipeseal.errors import MalformedInput
from tests.controlplane.webhook_payloads import (
    COMMIT,
    NOW,
    NULL,
    SECRET,
    TAG_OBJECT,
    bitbucket_pull_request,
    bitbucket_push,
    bitbucket_ref,
    encode,
    github_pull_request,
    github_push,
    gitlab_merge_request,
    gitlab_push,
    prove,
    server_pull_request,
    server_push,
)


def deliver(provider: Provider, event: str, payload: Any) -> list[BuildRequest | Ignored]:
    body = payload if isinstance(payload, bytes) else encode(payload)
    return list(read_webhook(provider, prove(provider, event, body), body, secrets=[SECRET], now=NOW).outcomes)


def build(provider: Provider, event: str, payload: Any) -> BuildRequest:
    (outcome,) = deliver(provider, event, payload)
    assert isinstance(outcome, BuildRequest), outcome
    return outcome


def ignored(provider: Provider, event: str, payload: Any) -> Ignored:
    (outcome,) = deliver(provider, event, payload)
    assert isinstance(outcome, Ignored), outcome
    return outcome


# --- GitHub ---


def test_github_push() -> None:
    assert build(Provider.GITHUB, "push", github_push()) == BuildRequest(
        event="push",
        commit=COMMIT,
        branch="main",
        message="Add login\n\nLonger text",
        author_name="Ada",
        author_email="ada@example.com",
        repositories=(
            "https://github.com/acme/api.git",
            "git@github.com:acme/api.git",
            "https://github.com/acme/api",
        ),
        source_event="push",
    )


def test_github_push_as_a_form() -> None:
    body = f"payload={quote_plus(encode(github_push()).decode())}".encode()
    headers = prove(Provider.GITHUB, "push", body) | {"Content-Type": "application/x-www-form-urlencoded; charset=x"}
    delivery = read_webhook(Provider.GITHUB, headers, body, secrets=[SECRET], now=NOW)
    assert delivery.outcomes == (build(Provider.GITHUB, "push", github_push()),)


@pytest.mark.parametrize(
    "body", [b"", b"payload", b"other=1", b"payload=1&payload=2", b"payload=%ff\xff", b"a=1" * 99]
)
def test_github_forms_that_cannot_be_read(body: bytes) -> None:
    headers = prove(Provider.GITHUB, "push", body) | {"Content-Type": "application/x-www-form-urlencoded"}
    with pytest.raises(MalformedInput) as caught:
        read_webhook(Provider.GITHUB, headers, body, secrets=[SECRET], now=NOW)
    assert caught.value.code == "webhook.malformed"


def test_github_tags_are_of_their_commit() -> None:
    annotated = github_push(ref="refs/tags/v1.0", after=TAG_OBJECT)
    request = build(Provider.GITHUB, "push", annotated)
    assert (request.event, request.commit, request.branch, request.tag) == ("tag", COMMIT, "v1.0", "v1.0")
    light = github_push(ref="refs/tags/v1.0")
    assert build(Provider.GITHUB, "push", light).commit == COMMIT


def test_github_deletions() -> None:
    gone = github_push(after=NULL, deleted=True, head_commit=None)
    assert ignored(Provider.GITHUB, "push", gone) == Ignored("the branch 'main' was deleted", "main")
    gone = github_push(ref="refs/tags/v1", after=NULL, deleted=True, head_commit=None)
    assert ignored(Provider.GITHUB, "push", gone) == Ignored("the tag 'v1' was deleted")


def test_github_pull_request() -> None:
    request = build(Provider.GITHUB, "pull_request", github_pull_request())
    assert request.pull_request == PullRequest(
        number=7,
        base_branch="main",
        repository="https://github.com/acme/api.git",
        is_fork=False,
        draft=False,
        labels=("safe", "big"),
        owner="acme",
    )
    assert (request.event, request.commit, request.branch, request.message) == (
        "pull_request",
        COMMIT,
        "login",
        "Login",
    )
    assert (request.source_event, request.source_action, request.author_name) == ("pull_request", "opened", "ada")


def test_github_forks_are_marked() -> None:
    fork = build(Provider.GITHUB, "pull_request", github_pull_request(fork=True)).pull_request
    assert fork is not None
    assert (fork.is_fork, fork.repository, fork.owner) == (True, "https://github.com/mallory/api.git", "mallory")
    payload = github_pull_request()
    payload["pull_request"]["head"]["repo"] = None
    gone = build(Provider.GITHUB, "pull_request", payload).pull_request
    assert gone is not None
    assert (gone.is_fork, gone.repository, gone.owner) == (True, "", "")
    payload = github_pull_request()
    payload["pull_request"]["head"]["repo"] = {"full_name": "Acme/API"}
    same = build(Provider.GITHUB, "pull_request", payload).pull_request
    assert same is not None
    assert not same.is_fork


@pytest.mark.parametrize("action", ["opened", "synchronize", "reopened", "ready_for_review", "converted_to_draft"])
def test_github_actions_that_can_build(action: str) -> None:
    assert build(Provider.GITHUB, "pull_request", github_pull_request(action)).source_action == action


def test_github_label_and_base_branch_changes() -> None:
    labeled = github_pull_request("labeled", label={"name": "big"})
    request = build(Provider.GITHUB, "pull_request", labeled)
    assert request.pull_request is not None
    assert request.pull_request.label == "big"
    moved = github_pull_request("edited", changes={"base": {"ref": {"from": "dev"}}})
    assert build(Provider.GITHUB, "pull_request", moved).base_branch_changed
    retitled = github_pull_request("edited", changes={"title": {"from": "x"}})
    assert "'edited'" in ignored(Provider.GITHUB, "pull_request", retitled).reason


@pytest.mark.parametrize(
    ("event", "payload", "words"),
    [
        ("ping", {"zen": "Keep it logically awesome.", "hook_id": 1}, "pong"),
        ("issues", {"action": "opened"}, "'issues'"),
        ("", {}, "''"),
        ("pull_request", github_pull_request("closed"), "'closed'"),
        ("push", github_push(ref="refs/notes/commits"), "neither a branch nor a tag"),
        ("push", github_push(ref="refs/heads/-x"), "cannot be the name"),
        ("push", github_push(ref="refs/heads/a..b"), "cannot be the name"),
        ("push", github_push(after="HEAD"), "is no commit"),
        ("push", github_push(after=COMMIT[:12]), "is no commit"),
        ("push", github_push(head_commit={"id": COMMIT, "message": "Typo\n\n[skip ci]"}), "asks to skip"),
    ],
)
def test_github_deliveries_without_a_build(event: str, payload: Any, words: str) -> None:
    assert words in ignored(Provider.GITHUB, event, payload).reason


def test_github_pull_requests_that_ask_to_be_skipped() -> None:
    payload = github_pull_request()
    payload["pull_request"]["title"] = "Login [ci-skip]"
    assert "asks to skip" in ignored(Provider.GITHUB, "pull_request", payload).reason


# --- GitLab ---


def test_gitlab_push() -> None:
    request = build(Provider.GITLAB, "Push Hook", gitlab_push())
    assert (request.event, request.commit, request.branch, request.message) == ("push", COMMIT, "main", "Add login")
    assert (request.author_name, request.author_email, request.source_event) == ("Ada", "ada@example.com", "push")
    assert "git@gitlab.example.com:acme/api.git" in request.repositories
    without = build(Provider.GITLAB, "Push Hook", gitlab_push(commits=[]))
    assert (without.message, without.author_name) == ("", "Grace")


def test_gitlab_tags_are_of_their_commit() -> None:
    payload = gitlab_push(object_kind="tag_push", ref="refs/tags/v1", after=TAG_OBJECT)
    request = build(Provider.GITLAB, "Tag Push Hook", payload)
    assert (request.event, request.commit, request.tag, request.source_event) == ("tag", COMMIT, "v1", "tag_push")


def test_gitlab_deletions() -> None:
    gone = gitlab_push(after=NULL, checkout_sha=None, commits=[])
    assert ignored(Provider.GITLAB, "Push Hook", gone).deleted_branch == "main"
    # A null commit wins over a stale `checkout_sha`.
    assert ignored(Provider.GITLAB, "Push Hook", gitlab_push(after=NULL)).deleted_branch == "main"


def test_gitlab_merge_request() -> None:
    request = build(Provider.GITLAB, "Merge Request Hook", gitlab_merge_request())
    assert request.pull_request == PullRequest(
        number=14,
        base_branch="main",
        repository="https://gitlab.example.com/acme/api.git",
        is_fork=False,
        draft=True,
        labels=("safe",),
        owner="acme",
    )
    assert (request.commit, request.branch, request.message) == (COMMIT, "login", "Login")
    assert (request.source_event, request.source_action) == ("merge_request", "opened")


def test_gitlab_forks_are_marked() -> None:
    fork = build(Provider.GITLAB, "x", gitlab_merge_request(project=99)).pull_request
    assert fork is not None
    assert (fork.is_fork, fork.owner) == (True, "mallory/tools")
    unknown = build(
        Provider.GITLAB, "x", gitlab_merge_request(source_project_id=None, target_project_id=None, source=None)
    )
    assert unknown.pull_request is not None
    assert unknown.pull_request.is_fork


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        (gitlab_merge_request("update"), "its commits were not"),
        (gitlab_merge_request("merge"), "'merge'"),
        (gitlab_merge_request("close"), "'close'"),
        (gitlab_merge_request(title="Login [skip-ci]"), "asks to skip"),
        (gitlab_merge_request(last_commit=None), "is no commit"),
        ({"object_kind": "pipeline"}, "'pipeline'"),
        ({}, "'Some Hook'"),
    ],
)
def test_gitlab_deliveries_without_a_build(payload: Any, words: str) -> None:
    assert words in ignored(Provider.GITLAB, "Some Hook", payload).reason


def test_gitlab_new_commits_in_a_merge_request() -> None:
    request = build(Provider.GITLAB, "x", gitlab_merge_request("update", oldrev=NULL))
    assert request.source_action == "synchronize"
    assert build(Provider.GITLAB, "x", gitlab_merge_request("reopen")).source_action == "reopened"


# --- Bitbucket ---


def test_bitbucket_push_of_several_refs() -> None:
    outcomes = deliver(
        Provider.BITBUCKET,
        "repo:push",
        bitbucket_push(
            {"new": bitbucket_ref(), "old": None},
            {"new": bitbucket_ref("tag", "v1"), "old": None},
            {"new": None, "old": bitbucket_ref(name="old")},
            {"new": bitbucket_ref(message="x [CI skip]"), "old": None},
            {"new": bitbucket_ref("bookmark"), "old": None},
            {"new": None, "old": None},
        ),
    )
    assert [type(outcome).__name__ for outcome in outcomes] == ["BuildRequest"] * 2 + ["Ignored"] * 4
    first, second, third = outcomes[:3]
    assert isinstance(first, BuildRequest)
    assert (first.commit, first.branch, first.message) == (COMMIT, "main", "Add login")
    assert (first.author_name, first.author_email) == ("Ada Lovelace", "ada@example.com")
    assert isinstance(second, BuildRequest)
    assert (second.event, second.tag) == ("tag", "v1")
    assert third == Ignored("the branch 'old' was deleted", "old")


def test_bitbucket_pull_requests() -> None:
    request = build(Provider.BITBUCKET, "pullrequest:created", bitbucket_pull_request())
    assert (request.commit, request.branch, request.source_action) == (COMMIT[:12], "login", "opened")
    assert request.pull_request is not None
    assert not request.pull_request.is_fork
    updated = build(Provider.BITBUCKET, "pullrequest:updated", bitbucket_pull_request(fork=True))
    assert updated.source_action == "synchronize"
    assert updated.pull_request is not None
    assert (updated.pull_request.is_fork, updated.pull_request.owner) == (True, "mallory")
    gone = build(Provider.BITBUCKET, "pullrequest:updated", bitbucket_pull_request(gone=True))
    assert gone.pull_request is not None
    assert (gone.pull_request.is_fork, gone.pull_request.repository) == (True, "")
    assert "pullrequest:fulfilled" in ignored(Provider.BITBUCKET, "pullrequest:fulfilled", {}).reason


def test_bitbucket_server_push() -> None:
    commits = [{"id": COMMIT, "message": "Add login", "author": {"displayName": "Grace"}}]
    payload = server_push(
        ("refs/heads/main", COMMIT), ("refs/tags/v1", COMMIT), ("refs/heads/old", NULL), commits=commits
    )
    outcomes = deliver(Provider.BITBUCKET_SERVER, "repo:refs_changed", payload)
    first = outcomes[0]
    assert isinstance(first, BuildRequest)
    assert (first.branch, first.message, first.author_name) == ("main", "Add login", "Grace")
    assert first.repositories == ("ssh://git@bitbucket.example.com:7999/acme/api.git",)
    assert outcomes[2] == Ignored("the branch 'old' was deleted", "old")
    plain = build(Provider.BITBUCKET_SERVER, "repo:refs_changed", server_push(("refs/heads/main", COMMIT)))
    assert (plain.message, plain.author_name, plain.author_email) == ("", "Ada", "ada@example.com")


def test_bitbucket_server_pull_requests() -> None:
    request = build(Provider.BITBUCKET_SERVER, "pr:opened", server_pull_request())
    assert (request.commit, request.branch, request.message) == (COMMIT, "login", "Login")
    assert request.pull_request is not None
    assert (request.pull_request.number, request.pull_request.base_branch) == (11, "main")
    assert (request.pull_request.is_fork, request.pull_request.draft) == (False, True)
    fork = build(Provider.BITBUCKET_SERVER, "pr:from_ref_updated", server_pull_request(fork=True))
    assert fork.pull_request is not None
    assert fork.pull_request.is_fork
    assert "pong" in ignored(Provider.BITBUCKET_SERVER, "diagnostics:ping", {"test": True}).reason
    assert "pr:merged" in ignored(Provider.BITBUCKET_SERVER, "pr:merged", server_pull_request()).reason


# --- plain git ---


def test_lines_of_a_post_receive_hook() -> None:
    lines = f"{NULL} {COMMIT} refs/heads/main\r\n{COMMIT} {NULL} refs/heads/old\n\n{NULL} {COMMIT} refs/tags/v1\n"
    first, second, third = deliver(Provider.GIT, "", lines.encode())
    assert first == BuildRequest("push", COMMIT, "main", source_event="push")
    assert second == Ignored("the branch 'old' was deleted", "old")
    assert third == BuildRequest("tag", COMMIT, "v1", tag="v1", source_event="push")


def test_a_hook_that_knows_more() -> None:
    update = {"ref": "refs/heads/é", "new": COMMIT, "message": "Hi", "author": {"name": "Ada", "email": "a@b"}}
    request = build(Provider.GIT, "", {"updates": [update]})
    assert (request.branch, request.message, request.author_name, request.author_email) == ("é", "Hi", "Ada", "a@b")


@pytest.mark.parametrize(
    "body", [b"x", b"a b\n", b"a b c d\n", b"\xff \xff \xff\n", b'{"updates": 1}', b'{"x": []}', b"{"]
)
def test_hooks_that_cannot_be_read(body: bytes) -> None:
    with pytest.raises(MalformedInput) as caught:
        deliver(Provider.GIT, "", body)
    assert caught.value.code == "webhook.malformed"


def test_a_push_of_very_many_refs_is_refused() -> None:
    lines = "".join(f"{NULL} {COMMIT} refs/heads/b{number}\n" for number in range(201))
    with pytest.raises(MalformedInput, match="201 branches"):
        deliver(Provider.GIT, "", lines.encode())


# --- all of them ---

EVENTS = [
    (Provider.GITHUB, "push", github_push()),
    (Provider.GITHUB, "pull_request", github_pull_request()),
    (Provider.GITLAB, "x", gitlab_push()),
    (Provider.GITLAB, "x", gitlab_merge_request()),
    (Provider.BITBUCKET, "repo:push", bitbucket_push({"new": bitbucket_ref(), "old": bitbucket_ref()})),
    (Provider.BITBUCKET, "pullrequest:created", bitbucket_pull_request()),
    (Provider.BITBUCKET_SERVER, "repo:refs_changed", server_push(("refs/heads/main", COMMIT))),
    (Provider.BITBUCKET_SERVER, "pr:opened", server_pull_request()),
    (Provider.GIT, "", {"updates": [{"ref": "refs/heads/main", "new": COMMIT}]}),
]
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(["ref", "id", "name", "x"]), inner, max_size=3)
    ),
    max_leaves=6,
)


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    match value:
        case dict():
            return [path, *(place for key, item in value.items() for place in _places(item, (*path, key)))]
        case list():
            return [path, *(place for index, item in enumerate(value) for place in _places(item, (*path, index)))]
        case _:
            return [path]


def _with(value: Any, path: tuple[Any, ...], replacement: Any) -> Any:
    if not path:
        return replacement
    key, *rest = path
    changed = list(value) if isinstance(value, list) else dict(value)
    changed[key] = _with(value[key], tuple(rest), replacement)
    return changed


@given(st.sampled_from(EVENTS), st.data())
def test_any_member_may_be_anything(event: tuple[Provider, str, Any], data: st.DataObject) -> None:
    provider, name, payload = event
    place = data.draw(st.sampled_from(_places(payload)))
    try:
        outcomes = deliver(provider, name, _with(payload, place, data.draw(JSON)))
    except MalformedInput as error:
        assert error.code == "webhook.malformed"
        return
    for outcome in outcomes:
        if isinstance(outcome, BuildRequest):
            assert is_usable_name(outcome.branch)
            assert outcome.commit.strip("0123456789abcdef") == ""
            assert outcome.commit.strip("0")


@given(st.sampled_from(EVENTS), st.binary(max_size=80))
def test_any_proven_bytes_are_read_or_refused(event: tuple[Provider, str, Any], body: bytes) -> None:
    try:
        deliver(event[0], event[1], body)
    except MalformedInput as error:
        assert error.code == "webhook.malformed"


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: f"{event[0]}-{event[1]}")
def test_deep_nesting_is_refused(event: tuple[Provider, str, Any]) -> None:
    body = b'{"x":' + b"[" * 200_000 + b"]" * 200_000 + b"}"
    with pytest.raises(MalformedInput):
        deliver(event[0], event[1], body)


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: f"{event[0]}-{event[1]}")
def test_members_nobody_asked_for_do_not_matter(event: tuple[Provider, str, Any]) -> None:
    provider, name, payload = event
    assert deliver(provider, name, {**payload, "extra": {"deep": [1, None, "x"]}}) == deliver(provider, name, payload)


def test_long_texts_are_cut() -> None:
    payload = github_push(head_commit={"id": COMMIT, "message": "x" * 100_000, "author": {"name": "y" * 10_000}})
    request = build(Provider.GITHUB, "push", payload)
    assert (len(request.message), len(request.author_name)) == (65_536, 512)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[ci skip]", True),
        ("[skip ci]", True),
        ("[ci-skip]", True),
        ("[skip-ci]", True),
        ("Fix\n\n[Skip CI]\n", True),
        ("skip ci", False),
        ("[skip  ci]", False),
        ("[skip ci", False),
        ("", False),
    ],
)
def test_how_to_ask_for_no_build(text: str, expected: bool) -> None:
    assert asks_to_skip(text) is expected


@pytest.mark.parametrize("name", ["main", "feature/a-b_c", "v1.0", "é", "a@b", "x" * 512, "#1", "(x)", "a;b", "$x"])
def test_names_that_git_takes(name: str) -> None:
    assert is_usable_name(name)


@pytest.mark.parametrize(
    "name",
    [
        *["", "-x", "--upload-pack=x", "a b", "a..b", "a\nb", "a~1", "a^", "a:b", "a?", "a*", "a[", "a\\b", "@"],
        *["a@{1}", "/a", "a/", "a//b", ".a", "a/.b", "a.", "a.lock", "a.lock/b", "\x7f", "x" * 513],
    ],
)
def test_names_that_git_does_not_take(name: str) -> None:
    assert not is_usable_name(name)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("https://github.com/acme/api.git", "git@github.com:acme/api.git", True),
        ("https://github.com/acme/api", "ssh://git@github.com/Acme/API.git/", True),
        ("https://user:pass@GitHub.com:443/acme/api", "git://github.com/acme/api.git", True),
        ("ssh://git@example.com:7999/a/b.git", "ssh://git@example.com/a/b.git", False),
        ("git@example.com:a/b", "git@example.org:a/b", False),
        ("https://github.com/acme/api", "https://github.com/acme/api2", False),
        ("https://github.com/acme/api", "https://github.com.evil.example/acme/api", False),
        ("https://github.com@evil.example/acme/api", "https://github.com/acme/api", False),
        ("file:///srv/git/api.git", "/srv/git/api", True),
        ("/srv/git/Api", "/srv/git/api", False),
        ("git@[::1]:a/b.git", "ssh://[::1]/a/b", False),
        ("https://example.com:x/a", "https://example.com/a", False),
        ("http://[::1", "http://[::1", True),
        ("https://example.com/%61cme/api", "https://example.com/acme/api", True),
    ],
)
def test_which_urls_are_one_repository(first: str, second: str, expected: bool) -> None:
    assert same_repository(first, second) is expected
    assert same_repository(second, first) is expected


@given(st.text(max_size=60), st.text(max_size=60))
def test_any_urls_can_be_compared(first: str, second: str) -> None:
    assert same_repository(first, first)
    assert same_repository(first, second) in (True, False)
