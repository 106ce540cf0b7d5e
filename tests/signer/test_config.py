"""`signer.toml` and the files around it: what is read, what is refused, and when the signer does not start."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeseal.errors import ConfigurationError, MalformedInput, PipesealError
from pipeseal.signer.config import TOP_KEYS, UPLOAD_KEYS, parse_signer_settings
from pipeseal.signer.trust import SignerTrust
from tests.signer.workshop import Workshop

HEAD = """\
version = 1
key = "/etc/pipeseal/signing.json"
verification-keys = "/etc/pipeseal/keys.json"
policy = "/etc/pipeseal/policy.toml"
state = "/var/lib/pipeseal-signer"
supervisors = "root"
"""


def test_the_shortest_file_allows_plain_uploads_and_nothing_else() -> None:
    settings = parse_signer_settings(HEAD.encode())
    (rule,) = settings.rules
    assert (settings.supervisors, settings.jobs, settings.separates) == (frozenset({0}), frozenset({0}), False)
    assert (rule.commands, rule.templates, rule.tags, rule.pull_requests) == (None, "", False, False)
    assert settings.seal_valid_seconds == 7 * 86_400


def test_rules_add_to_the_constants_above_them_and_take_from_them() -> None:
    text = HEAD + (
        'jobs = [70002]\nseal-valid-for = "12h"\nunset = ["C"]\nconstants = { A = "1", B = "2" }\n'
        '[[upload]]\nunset = "B"\nconstants = { C = "3" }\n[[upload]]\ncommand = "make it"\ntemplates = "t.yml"\n'
    )
    settings = parse_signer_settings(text.encode())
    assert settings.separates and settings.seal_valid_seconds == 43_200
    first, second = settings.rules
    assert (dict(first.constants), first.unset) == ({"A": "1", "C": "3"}, frozenset({"B"}))
    assert (dict(second.constants), second.unset, second.templates) == (
        {"A": "1", "B": "2"},
        frozenset({"C"}),
        "t.yml",
    )


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        ("= [", "signer.syntax", "TOML"),
        ("supervisor = 1\n", "signer.key", "did you mean supervisors"),
        ("[[upload]]\nrepositories = 'x'\n", "signer.key", "did you mean repository"),
        ("jobs = [true]\n", "signer.setting", "uids"),
        ("jobs = 'nobody-of-that-name'\n", "signer.user", "has no user"),
        ("socket-group = 'nobody-of-that-name'\n", "signer.user", "has no group"),
        ("seal-valid-for = 'for ever'\n", "signer.setting", "7d"),
        ("seal-valid-for = '0d'\n", "signer.setting", "7d"),
        ("git-config = 'here'\n", "signer.setting", "from / on"),
        ("constants = { BUILDKITE_BRANCH = 'main' }\n", "signer.setting", "never a constant"),
        ("constants = { A = 1 }\n", "signer.setting", "texts"),
        ("constants = { 'A B' = 'x' }\n", "signer.setting", "no name"),
        ("unset = ['PIPESEAL_SEAL']\n", "signer.setting", "never a constant"),
        ("unset = ['A']\nconstants = { A = 'x' }\n", "signer.setting", "has a value"),
        ("upload = 1\n", "signer.setting", "[[upload]]"),
        ("[[upload]]\nfiles = 'x'\n", "signer.setting", "goes with `command`"),
        ("[[upload]]\ntemplates = 'x'\n", "signer.setting", "goes with `command`"),
        ("[[upload]]\npipeline = []\n", "signer.setting", "nothing"),
        ("[[upload]]\ntags = 'yes'\n", "signer.setting", "true or false"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_line(change: str, code: str, words: str) -> None:
    with pytest.raises(PipesealError) as refused:
        parse_signer_settings((HEAD + change).encode(), source="signer.toml")
    assert refused.value.code == code
    assert words in f"{refused.value.message} {refused.value.help}"
    if isinstance(refused.value, MalformedInput) and code != "signer.syntax":
        assert refused.value.position is not None and refused.value.position.source == "signer.toml"


@pytest.mark.parametrize("line", range(6))
def test_nothing_that_matters_has_a_default(line: int) -> None:
    lines = HEAD.splitlines(keepends=True)
    with pytest.raises(MalformedInput) as refused:
        parse_signer_settings("".join(lines[:line] + lines[line + 1 :]).encode())
    assert refused.value.code in {"signer.syntax", "signer.setting"}


@given(st.dictionaries(st.sampled_from([*TOP_KEYS, *UPLOAD_KEYS, "other"]), st.integers() | st.text(max_size=5)))
def test_any_values_are_read_or_refused(values: dict[str, int | str]) -> None:
    text = HEAD + "".join(f"{name} = {json.dumps(value)}\n" for name, value in values.items())
    try:
        parse_signer_settings(text.encode("utf-8", "surrogatepass"))
    except PipesealError:
        pass


# --- the files around it --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda home: (home / "signing.json").chmod(0o660), "signer.permissions"),
        (lambda home: (home / "signing.json").chmod(0o604), "signer.permissions"),
        (lambda home: (home / "signer.toml").chmod(0o644), "signer.permissions"),
        (lambda home: (home / "signer.toml").chmod(0o620), "signer.permissions"),
        (lambda home: home.chmod(0o777), "signer.permissions"),
        (lambda home: (home / "state").chmod(0o750), "signer.permissions"),
        (lambda home: (home / "policy.toml").chmod(0o666), "policy.permissions"),
        (lambda home: (home / "keys.json").chmod(0o666), "key.permissions"),
        (lambda home: (home / "signer.toml").unlink(), "signer.unreadable"),
        (lambda home: (home / "gitconfig").chmod(0o666), "signer.permissions"),
        (lambda home: _write(home / "policy.toml", 'version = 1\nmode = "observe"\n'), "signer.observes"),
        (lambda home: _write(home / "policy.toml", "version = 1\n[[allow]]\nmode = 'observe'\n"), "signer.observes"),
        (lambda home: _write(home / "policy.toml", "version = 1\n[[allow]]\nmode = 'warn'\n"), "signer.observes"),
        (lambda home: _write(home / "keys.json", (home / "signing.json").read_text()), "key.private"),
        (lambda home: _forget_id(home / "signing.json"), "seal.key"),
    ],
)
def test_a_signer_that_others_could_use_does_not_start(
    tmp_path: Path, spoil: Callable[[Path], None], code: str
) -> None:
    # L10, G08: the twin starts.
    shop = Workshop(tmp_path)
    shop._write("gitconfig", "")
    shop.configure(f'git-config = "{shop.home}/gitconfig"\n')
    assert SignerTrust(shop.config).current().key.kid == "signer"
    spoil(shop.home)
    with pytest.raises(PipesealError) as refused:
        SignerTrust(shop.config).current()
    assert refused.value.code == code


def _write(path: Path, text: str) -> None:
    path.write_text(text)


def _forget_id(path: Path) -> None:
    keys = json.loads(path.read_text())
    del keys["keys"][0]["kid"]
    path.write_text(json.dumps(keys))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_files_of_other_users_are_not_the_signers(tmp_path: Path) -> None:
    shop = Workshop(tmp_path)
    for name in ("signing.json", "signer.toml", "state"):
        os.chown(shop.home / name, 70002, 70002)
        with pytest.raises(ConfigurationError) as refused:
            SignerTrust(shop.config).current()
        assert refused.value.code == "signer.permissions"
        os.chown(shop.home / name, 0, 0)
    SignerTrust(shop.config).current()


def test_files_are_read_again_when_they_change_and_nothing_is_signed_while_they_are_wrong(tmp_path: Path) -> None:
    shop = Workshop(tmp_path)
    job = shop.job()
    capability = shop.grant(job)
    good = shop.config.read_text()
    shop.configure("nonsense = 1\n")
    for ask in (lambda: shop.granted(shop.job()), lambda: shop.sign(job, capability)):
        with pytest.raises(MalformedInput) as refused:
            ask()
        assert refused.value.code == "signer.key"
    shop.config.write_text(good + '[[upload]]\npipeline = "other"\n')
    assert shop.granted(shop.job()).code == "signer.not_upload_step"
    shop.config.write_text(good)
    shop.sign(job, capability)
