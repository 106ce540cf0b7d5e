"""Reading `policy.toml`: what is right, and for what is wrong the code, the line and the way out."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeseal.errors import MalformedInput
from pipeseal.policy.file import RECORD_KEYS, SECTION_KEYS, TOP_KEYS, parse_policy
from pipeseal.policy.policy import Mode

WHOLE = """\
version = 1
mode = "enforce"
proof = "seal"
keys = ["a", "b-*"]
branches = "main"
pull-requests = true
head-commits = false
commit-signers = "/etc/pipeseal/allowed_signers"
commit-keyring = "keyring.asc"
revoked-commit-signers = "revoked"
submodules = ["git@h:acme/*"]
commands = "scripts"
plugins = ["github.com/acme/*"]
pinned-plugins = true
repository-hooks = false
server-variables = ["X"]
informational-variables = false
max-attempts = 3
static-steps = "any"
static-starts = 2
repositories = "git@h:acme/*"
shared-secrets = true

[[allow]]
repository = "git@h:acme/app"
organization = "acme"
pipeline = ["app", "app-*"]
mode = "observe"

[[allow]]

[key.a]
not-before = 2026-01-01
not-after = 2027-01-01T12:00:00+02:00
revoked = "lost"
repositories = "x"
organizations = "y"
pipelines = "z"
branches = "main"
roles = ["uploads", "static"]

[key."b.c"]
"""


def test_whole_file() -> None:
    policy = parse_policy(WHOLE.encode())
    assert [rule.name for rule in policy.everywhere.rules] == [
        "repositories", "proof", "keys", "branches", "head-commits", "commit-signers", "submodules", "commands",
        "plugins", "pinned-plugins", "max-attempts",
    ]  # fmt: skip
    assert [section.title for section in policy.sections] == ["1 (git@h:acme/app)", "2 (everything else)"]
    assert policy.mode is Mode.ENFORCE and policy.sections[0].mode is Mode.OBSERVE
    assert policy.shared_secrets and set(policy.keys) == {"a", "b.c"}
    record = policy.keys["a"]
    assert (record.not_before, record.not_after, record.revoked) == (1767225600.0, 1798797600.0, "lost")
    assert policy.warnings == ()


def test_every_key_is_in_the_whole_file() -> None:
    document = tomllib.loads(WHOLE)
    assert document.keys() == TOP_KEYS.keys()
    assert document["allow"][0].keys() | {*document} >= SECTION_KEYS.keys()
    assert document["key"]["a"].keys() == RECORD_KEYS.keys()


def test_what_is_worth_a_warning() -> None:
    for mode in ("observe", "warn"):
        assert "nothing is refused" in parse_policy(f'version = 1\nmode = "{mode}"'.encode()).warnings[0]
    text = b'version = 1\n[[allow]]\n[[allow]]\nrepository = "x"'
    assert "section 1 is for everything" in parse_policy(text).warnings[0]


@pytest.mark.parametrize(
    ("text", "code", "line", "words"),
    [
        ("", "policy.syntax", None, "version"),
        ("version = 2", "policy.value", 1, "knows version 1"),
        ("version = true", "policy.value", 1, "knows version 1"),
        ("version = 1\nx = = 1", "policy.syntax", 2, "not TOML"),
        ("version = 1\nmode = \"enforce\"\nmode = \"observe\"", "policy.syntax", 3, "not TOML"),
        ("version = 1\n\nkyes = ['a']", "policy.key", 3, "did you mean keys"),
        ("version = 1\n[[allow]]\nrepositry = 'x'", "policy.key", 3, "did you mean repository"),
        ("version = 1\n[[allow]]\nkeys = 'x'\n[[allow]]\nplugin = 'x'", "policy.key", 5, "did you mean plugins"),
        ("version = 1\n[[allow]]\nversion = 1", "policy.key", 3, "another part"),
        ("version = 1\n[key.a]\nrevokd = 'x'", "policy.key", 3, "did you mean revoked"),
        ("version = 1\n[key.'a b']\nnothing = 'x'", "policy.key", 3, "it can have"),
        ("version = 1\n[alow]\nx = 1", "policy.key", 2, "did you mean allow"),
        ("version = 1\n[allow]\nx = 1", "policy.value", 2, "[[allow]]"),
        ("version = 1\nkey = 5", "policy.value", 2, "[key.ID]"),
        ("version = 1\nmode = 'block'", "policy.value", 2, "enforce or warn or observe"),
        ("version = 1\nproof = 3", "policy.value", 2, "signature or seal"),
        ("version = 1\ncommands = 'no'", "policy.value", 2, "any or scripts"),
        ("version = 1\nkeys = []", "policy.value", 2, "allow nothing"),
        ("version = 1\nkeys = [5]", "policy.value", 2, "list of texts"),
        ("version = 1\nkeys = ['']", "policy.value", 2, "list of texts"),
        ("version = 1\nbranches = []", "policy.value", 2, "allow nothing"),
        ("version = 1\npull-requests = 'no'", "policy.value", 2, "true or false"),
        ("version = 1\ncommit-signers = ['a']", "policy.value", 2, "path of a file"),
        ("version = 1\nrevoked-commit-signers = 'a'", "policy.value", 2, "nothing says who may"),
        ("version = 1\nmax-attempts = 0", "policy.value", 2, "from 1 to 1000"),
        ("version = 1\nmax-attempts = true", "policy.value", 2, "from 1 to 1000"),
        ("version = 1\nserver-variables = ['LD_PRELOAD']", "policy.value", 2, "LD_PRELOAD"),
        ("version = 1\n  server-variables = ['BUILDKITE_SHELL']", "policy.value", 2, "the agent's own"),
        ("version = 1\nserver-variables = ['A-B']", "policy.value", 2, "is not a name"),
        ("version = 1\n[[allow]]\nrepository = []", "policy.value", 3, "allow nothing"),
        ("version = 1\n[key.a]\nrevoked = true", "policy.value", 3, "says why"),
        ("version = 1\n[key.a]\nrevoked = ''", "policy.value", 3, "says why"),
        ("version = 1\n[key.a]\nroles = 'receipts'", "policy.value", 3, "uploads or static"),
        ("version = 1\n[key.a]\nnot-after = 'tomorrow'", "policy.value", 3, "a date or a time"),
        ("version = 1\n[key]\na.not-after = 5", "policy.value", None, "a date or a time"),
    ],
)  # fmt: skip
def test_what_is_wrong(text: str, code: str, line: int | None, words: str) -> None:
    with pytest.raises(MalformedInput) as caught:
        parse_policy(text.encode(), source="p.toml")
    error = caught.value
    assert error.code == code
    assert words in f"{error.message} {error.help}"
    if line is not None:
        assert error.position is not None and (error.position.source, error.position.line) == ("p.toml", line)
        assert error.position.text == text.split("\n")[line - 1]


def test_bytes_and_sizes() -> None:
    for data in (b"\xff", b"version = 1\n# \xff", b"x" * (1 << 21), b"[" * 100_000):
        with pytest.raises(MalformedInput) as caught:
            parse_policy(data)
        assert caught.value.code == "policy.syntax"


keys = st.sampled_from([*TOP_KEYS, *SECTION_KEYS, *RECORD_KEYS, "x"])
values = st.recursive(
    st.sampled_from(["1", "true", '"main"', '"seal"', '"observe"', '"*"', "2026-01-01", "1.5", "[]", '""']),
    lambda inner: st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]"),
    max_leaves=4,
)
lines = st.one_of(
    st.builds("{} = {}".format, keys, values),
    st.sampled_from(["[[allow]]", "[key.a]", "[key]", "[allow]", "[x]", "# x", ""]),
    st.text(max_size=20),
)


@given(st.lists(lines, max_size=12))
def test_whatever_is_written_is_a_policy_or_malformed(text: list[str]) -> None:
    try:
        parse_policy("\n".join(["version = 1", *text]).encode("utf-8", "surrogatepass"))
    except MalformedInput as error:
        assert error.code in {"policy.syntax", "policy.key", "policy.value"}


@given(st.binary(max_size=200))
def test_whatever_the_bytes_are(data: bytes) -> None:
    try:
        parse_policy(data)
    except MalformedInput as error:
        assert error.code in {"policy.syntax", "policy.key", "policy.value"}
