"""The catalogue's attacks on a job's variables and source, each on an honest twin that is approved.

Each row is one attack, by its number in the catalogue: what the control plane changes, and the code of the refusal.
The name it is about has to be in the message. A last test holds that no attack of these groups was forgotten.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from pipeseal.signing.seal.envelope import VARIABLE
from tests.policy.honest import JOB_ID, document, policy, refused, with_env
from tests.policy.honest import approved as approve

CATALOGUE = Path(__file__).resolve().parents[3] / "shared" / "reference" / "attacks.json"


class Attack(NamedTuple):
    """One attack.

    Parameters:
        number: in the catalogue.
        env: variables that the server sets.
        code: of the refusal.
    """

    number: str
    env: dict[str, str]
    code: str


def _each(number: str, code: str, names: str, value: str = "/attack") -> list[Attack]:
    return [Attack(number, {name: value}, code) for name in names.split()]


NAME, FORBIDDEN, UNKNOWN = "environment.name", "environment.forbidden", "environment.unknown"
VALUE, IDENTITY, SIGNED = "environment.value", "job.identity", "signature.mismatch"

ATTACKS: list[Attack] = [
    *(Attack("B01", {f"BUILDKITE_COMMAND=touch /x #{n}": "" for n in range(count)}, NAME) for count in (1, 5, 100)),
    Attack("B01", {"BUILDKITE_REPO=/evil": ""}, NAME),
    Attack("B02", {"BUILDKITE_HOOKS_PATH=/other": ""}, NAME),
    Attack("B02", {"BUILDKITE_SHELL=/bin/evil": ""}, NAME),
    Attack("B02", {"BUILDKITE_GIT_CLONE_FLAGS=-c x=y": ""}, NAME),
    Attack("B03", {"BUILDKITE_BOOTSTRAP_PHASES": "command"}, FORBIDDEN),
    Attack("B03", {"BUILDKITE_BOOTSTRAP_PHASES": "checkout"}, FORBIDDEN),
    *_each(
        "B04", FORBIDDEN,
        "BUILDKITE_PLUGIN_DOCKER_COMMAND_0 BUILDKITE_PLUGIN_DOCKER_PRIVILEGED BUILDKITE_PLUGIN_DOCKER_VOLUMES_0 "
        "BUILDKITE_PLUGIN_DOCKER_ENTRYPOINT BUILDKITE_PLUGIN_CONFIGURATION BUILDKITE_PLUGIN_NAME",
    ),
    *_each(
        "B05", FORBIDDEN,
        "BUILDKITE_DOCKER BUILDKITE_DOCKER_FILE BUILDKITE_DOCKER_COMPOSE_CONTAINER BUILDKITE_DOCKER_COMPOSE_FILE",
    ),
    Attack("B06", {"BUILDKITE_SECRETS_CONFIG": '[{"key":"x","environment_variable":"LD_PRELOAD"}]'}, FORBIDDEN),
    Attack("B08", {"BUILDKITE_JOB_ID": "0193d0a1-0000-7000-8000-00000000beef"}, IDENTITY),
    Attack("B08", {"BUILDKITE_JOB_ID": ""}, VALUE),
    *_each("B10", NAME, "Buildkite_Command buildkite_command BUILDKITE_command bUILDKITE_REPO"),
    Attack("B11", {"BUILDKITE_PLUGINS": '[{"kubernetes":{"podSpec":{"image":"evil"}}}]'}, "plugins.differ"),
    *_each(
        "C01", FORBIDDEN,
        "LD_PRELOAD LD_LIBRARY_PATH LD_AUDIT DYLD_INSERT_LIBRARIES DYLD_LIBRARY_PATH GCONV_PATH",
    ),
    Attack("C02", {"BUILDKITE_SECRETS_CONFIG": '[{"key":"x"}]', "LD_PRELOAD": "/x.so"}, FORBIDDEN),
    *_each("C03", FORBIDDEN, "BASH_ENV ENV SHELLOPTS PS4 CDPATH IFS BASHOPTS PROMPT_COMMAND"),
    Attack("C03", {"BASH_FUNC_make%%": "() { touch /x; }"}, NAME),
    *_each(
        "C04", FORBIDDEN,
        "GIT_SSH_COMMAND GIT_SSH GIT_PROXY_COMMAND GIT_ASKPASS SSH_ASKPASS GIT_EXEC_PATH GIT_TEMPLATE_DIR "
        "GIT_EXTERNAL_DIFF GIT_TRACE",
    ),
    *_each(
        "C05", FORBIDDEN,
        "GIT_CONFIG_COUNT GIT_CONFIG_KEY_0 GIT_CONFIG_VALUE_0 GIT_CONFIG_PARAMETERS GIT_CONFIG_GLOBAL "
        "XDG_CONFIG_HOME HOME GIT_CONFIG_SYSTEM",
    ),
    *_each(
        "C06", FORBIDDEN, "GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE GIT_OBJECT_DIRECTORY GIT_ALTERNATE_OBJECT_DIRECTORIES"
    ),
    *_each("C07", FORBIDDEN, "PATH TMPDIR HOME PATHEXT"),
    *_each(
        "C08", FORBIDDEN,
        "NODE_OPTIONS NODE_PATH PYTHONPATH PYTHONSTARTUP PYTHONHOME PYTHONWARNINGS PERL5OPT PERL5LIB PERL_UNICODE "
        "RUBYOPT RUBYLIB GEM_HOME GEM_PATH BUNDLE_GEMFILE BUNDLE_PATH JAVA_TOOL_OPTIONS _JAVA_OPTIONS "
        "JDK_JAVA_OPTIONS CLASSPATH JAVA_HOME MAVEN_OPTS MAVEN_ARGS GRADLE_OPTS GRADLE_USER_HOME ANT_OPTS SBT_OPTS "
        "GOFLAGS GOPROXY GOROOT GOPATH GOENV GOTOOLCHAIN GONOSUMDB CGO_CFLAGS CGO_LDFLAGS RUSTC RUSTC_WRAPPER "
        "RUSTFLAGS RUSTUP_HOME CARGO_HOME CARGO_BUILD_RUSTC MAKEFLAGS GNUMAKEFLAGS MAKEFILES npm_config_registry "
        "npm_config_script_shell NPM_CONFIG_REGISTRY YARN_REGISTRY PIP_INDEX_URL PIP_EXTRA_INDEX_URL PIP_CONFIG_FILE "
        "UV_INDEX_URL POETRY_HOME PHPRC PHP_INI_SCAN_DIR LUA_INIT LUA_PATH CC CXX CPP LD AR CFLAGS CXXFLAGS LDFLAGS "
        "CMAKE_TOOLCHAIN_FILE PKG_CONFIG_PATH DOTNET_STARTUP_HOOKS COR_PROFILER CORECLR_PROFILER NUGET_PACKAGES",
    ),
    *_each(
        "C09", FORBIDDEN,
        "HTTPS_PROXY https_proxy HTTP_PROXY ALL_PROXY no_proxy SSL_CERT_FILE SSL_CERT_DIR CURL_CA_BUNDLE CURL_HOME "
        "GIT_SSL_NO_VERIFY NODE_EXTRA_CA_CERTS NODE_TLS_REJECT_UNAUTHORIZED AWS_CA_BUNDLE REQUESTS_CA_BUNDLE",
    ),
    *_each(
        "C10", FORBIDDEN,
        "AWS_ENDPOINT_URL AWS_ENDPOINT_URL_S3 AWS_CONFIG_FILE AWS_PROFILE AWS_ACCESS_KEY_ID "
        "GOOGLE_APPLICATION_CREDENTIALS KUBECONFIG DOCKER_HOST DOCKER_CONFIG VAULT_ADDR VAULT_TOKEN AZURE_CONFIG_DIR",
    ),
    Attack("C11", {"BUILDKITE_BUILD_CHECKOUT_PATH": "/home/agent/.ssh"}, FORBIDDEN),
    Attack("C12", {"BUILDKITE_BUILD_CHECKOUT_PATH": "/x", "BUILDKITE_CLEAN_CHECKOUT": "true"}, FORBIDDEN),
    Attack("C12", {"BUILDKITE_CLEAN_CHECKOUT": "true"}, FORBIDDEN),
    *(
        Attack("C13", {name: value}, SIGNED)
        for name in ("BUILDKITE_ORGANIZATION_SLUG", "BUILDKITE_PIPELINE_SLUG")
        for value in ("../../x", "/etc", "..", "A b", "a/b", "-x")
    ),
    Attack("C14", {"BUILDKITE_AGENT_NAME": "../builds/acme"}, VALUE),
    Attack("C14", {"BUILDKITE_AGENT_NAME": "another"}, IDENTITY),
    Attack("C14", {"BUILDKITE_AGENT_ID": "0193d0a1-0000-7000-8000-00000000beef"}, IDENTITY),
    *_each(
        "C15", FORBIDDEN,
        "BUILDKITE_SKIP_CHECKOUT BUILDKITE_GIT_SUBMODULES BUILDKITE_GIT_SKIP_FETCH_EXISTING_COMMITS "
        "BUILDKITE_GIT_CHECKOUT_TIMEOUT", "true",
    ),
    *_each("C16", FORBIDDEN, "BUILDKITE_GIT_SPARSE_CHECKOUT_PATHS BUILDKITE_GIT_SPARSE_CHECKOUT_MODE", "src"),
    *_each(
        "C17", FORBIDDEN,
        "BUILDKITE_GIT_CLONE_FLAGS BUILDKITE_GIT_FETCH_FLAGS BUILDKITE_GIT_CHECKOUT_FLAGS BUILDKITE_GIT_CLEAN_FLAGS "
        "BUILDKITE_GIT_COMMIT_VERIFICATION", "--upload-pack=/x",
    ),
    *_each(
        "C18", FORBIDDEN,
        "BUILDKITE_HOOKS_PATH BUILDKITE_ADDITIONAL_HOOKS_PATHS BUILDKITE_PLUGINS_PATH BUILDKITE_BIN_PATH "
        "BUILDKITE_SHELL BUILDKITE_HOOKS_SHELL BUILDKITE_COMMAND_EVAL BUILDKITE_PLUGINS_ENABLED "
        "BUILDKITE_LOCAL_HOOKS_ENABLED BUILDKITE_SSH_KEYSCAN",
    ),
    *_each(
        "C19", FORBIDDEN,
        "BUILDKITE_GIT_MIRRORS_PATH BUILDKITE_GIT_CLONE_MIRROR_FLAGS BUILDKITE_GIT_SUBMODULE_CLONE_CONFIG "
        "BUILDKITE_GIT_MIRROR_CHECKOUT_MODE",
    ),
    Attack("C20", {"BUILDKITE_REDACTED_VARS": ""}, FORBIDDEN),
    Attack("C21", {"BUILDKITE_GIT_SSH_KEY": "-----BEGIN"}, FORBIDDEN),
    Attack("C22", {"BUILDKITE_GIT_LFS_ENABLED": "true"}, FORBIDDEN),
    *_each(
        "C23", FORBIDDEN,
        "BUILDKITE_USE_GITHUB_APP_GIT_CREDENTIALS BUILDKITE_USE_REPOSITORY_PROVIDER_GIT_CREDENTIALS", "true",
    ),
    *_each(
        "C24", FORBIDDEN,
        "BUILDKITE_AGENT_NO_JOB_API BUILDKITE_AGENT_SECRET_GET_SKIP_SECRET_REDACTION "
        "BUILDKITE_AGENT_OIDC_REQUEST_TOKEN_SKIP_TOKEN_REDACTION", "true",
    ),
    *_each(
        "C25", FORBIDDEN,
        "BUILDKITE_TRACING_BACKEND OTEL_EXPORTER_OTLP_ENDPOINT OTEL_EXPORTER_OTLP_HEADERS "
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT BUILDKITE_TRACING_TRACEPARENT", "opentelemetry",
    ),
    *_each(
        "C26", FORBIDDEN,
        "BUILDKITE_CANCEL_SIGNAL BUILDKITE_AGENT_PROFILE BUILDKITE_PTY BUILDKITE_AGENT_LOG_LEVEL "
        "BUILDKITE_NO_LOCAL_HOOKS", "true",
    ),
    Attack("C28", {"BUILDKITE_ARTIFACT_PATHS": "--endpoint=http://127.0.0.1:9"}, VALUE),
    Attack("C28", {"BUILDKITE_ARTIFACT_PATHS": "ok;-x"}, VALUE),
    Attack("C28", {"BUILDKITE_ARTIFACT_PATHS": "../../../etc/passwd"}, VALUE),
    Attack("C28", {"BUILDKITE_ARTIFACT_PATHS": "/etc/passwd"}, VALUE),
    Attack("C28", {"BUILDKITE_ARTIFACT_UPLOAD_DESTINATION": "**/*"}, FORBIDDEN),
    Attack("C30", {"TARGET": "production"}, UNKNOWN),
    Attack("D03", {"BUILDKITE_PULL_REQUEST_USING_MERGE_REFSPEC": "true"}, VALUE),
    Attack("D04", {"BUILDKITE_REFSPEC": "refs/heads/x:refs/heads/main +refs/*:refs/*"}, FORBIDDEN),
    Attack("D05", {"BUILDKITE_REFSPEC": "refs/heads/x:refs/heads/" + "0" * 40}, FORBIDDEN),
    Attack("D10", {"BUILDKITE_GIT_REMOTE_MIRROR_URL": "https://evil.example.test/x"}, VALUE),
    Attack("D15", {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "url.https://evil/.insteadOf"}, FORBIDDEN),
]  # fmt: skip

# What a server can say of a job whose step is bound to nothing: the ecosystem's signatures, or a static one.
UNBOUND: list[Attack] = [
    *(
        Attack("C13", {name: value}, VALUE)
        for name in ("BUILDKITE_ORGANIZATION_SLUG", "BUILDKITE_PIPELINE_SLUG")
        for value in ("../../x", "/etc", "..", "A b", "a/b", "-x", "x\n", "x" * 101)
    ),
    *(Attack("C27", {"BUILDKITE_COMMIT": value}, VALUE) for value in ("--output=/x", "-x", "a" * 39, "A" * 40)),
    *(
        Attack("C29", {name: value}, VALUE)
        for name in ("BUILDKITE_BRANCH", "BUILDKITE_TAG", "BUILDKITE_PIPELINE_DEFAULT_BRANCH")
        for value in (
            'a"b',
            "a'b",
            "$(x)",
            "`x`",
            "a;b",
            "a&b",
            "a|b",
            "a\nb",
            "a b",
            "-x",
            "a\x1b[2J",
            "a..b",
            "{x,y}",
        )
    ),
    Attack("D02", {"BUILDKITE_PULL_REQUEST": "../../x"}, VALUE),
    Attack("D02", {"BUILDKITE_PULL_REQUEST": "7/head:x"}, VALUE),
    Attack("D06", {"BUILDKITE_TAG": "v1", "BUILDKITE_COMMIT": "v1"}, VALUE),
    Attack("D08", {"BUILDKITE_COMMIT": "main"}, VALUE),
    Attack("D08", {"BUILDKITE_COMMIT": "Makefile"}, VALUE),
    Attack("D09", {"BUILDKITE_COMMIT": "abc123"}, VALUE),
]
# What bindings and the seal answer whatever the value looks like.
BOUND: list[Attack] = [
    Attack("D01", {"BUILDKITE_COMMIT": "0" * 40}, SIGNED),
    Attack("D02", {"BUILDKITE_PULL_REQUEST": "7", "BUILDKITE_PIPELINE_PROVIDER": "github"}, SIGNED),
    Attack("D06", {"BUILDKITE_TAG": "v1"}, SIGNED),
    Attack("D07", {"BUILDKITE_COMMIT": "HEAD"}, SIGNED),
    *(
        Attack("D14", {"BUILDKITE_REPO": url}, SIGNED)
        for url in (
            "git@git.example.test:acme/widgets", "git@git.example.test:acme/Widgets.git",
            "ssh://git@git.example.test/acme/widgets.git", "git@git.example.test:22:acme/widgets.git",
            "git@git.example.test:acme/widgets.git/", "git@gít.example.test:acme/widgets.git",
        )
    ),
    Attack("E02", {"BUILDKITE_PIPELINE_SLUG": "other"}, SIGNED),
    Attack("E03", {"BUILDKITE_ORGANIZATION_SLUG": "other"}, SIGNED),
]  # fmt: skip


def _title(attack: Attack) -> str:
    name, value = next(iter(attack.env.items()))
    return f"{attack.number}-{name[:40]}-{value[:20]}".encode("ascii", "replace").decode()


@pytest.mark.parametrize("how", ["reference", "bound", "static", "sealed"])
def test_honest_twin_is_approved(how: Any) -> None:
    assert approve(document(how)).command == "scripts/test"


@pytest.mark.parametrize("how", ["bound", "sealed"])
@pytest.mark.parametrize("attack", ATTACKS + BOUND, ids=_title)
def test_attack_on_a_bound_job_is_refused_with_its_code(attack: Attack, how: Any) -> None:
    decision = refused(with_env(document(how), **attack.env))
    # A sealed value may be missed by the seal's own comparison first.
    allowed = {attack.code, *(["seal.differs"] if how == "sealed" else [])}
    assert decision.code in allowed, (decision.code, decision.reason)
    if attack.code.startswith(("environment.", "job.")) and decision.code == attack.code:
        assert all(_named(name, decision.reason) for name in list(attack.env)[:8]), decision.reason
    assert any(decision.code in line for line in decision.log)


@pytest.mark.parametrize("how", ["reference", "static"])
@pytest.mark.parametrize("attack", [row for row in ATTACKS if row.code != SIGNED] + UNBOUND, ids=_title)
def test_attack_on_an_unbound_job_is_refused_with_its_code(attack: Attack, how: Any) -> None:
    # A static signature is bound to no tag and to its pipeline: then those say no first.
    decision = refused(with_env(document(how), **attack.env))
    assert decision.code in {attack.code, *([SIGNED] if how == "static" else [])}, (decision.code, decision.reason)


def _named(name: str, reason: str) -> bool:
    return name in reason or repr(name[:60])[1:-1] in reason or name.split("=")[0] in reason


@pytest.mark.parametrize("how", ["reference", "static"])
def test_symbolic_commit_is_refused_where_the_policy_says_so(how: Any) -> None:
    head = with_env(document(how), BUILDKITE_COMMIT="HEAD")  # D07
    assert approve(head).commit == "HEAD"
    assert refused(head, policy("head-commits = false")).code == "commit.not_full"
    assert refused(with_env(head, BUILDKITE_COMMIT=None), policy("head-commits = false")).code == "commit.not_full"


def test_shell_mode_is_sealed_and_not_guessed() -> None:
    assert approve(document("sealed")).execution == "shell"  # B09
    assert approve(document("bound")).execution == "either"


@pytest.mark.parametrize(
    "member", ["agents", "timeout_in_minutes", "soft_fail", "if", "retry", "artifact_paths", "priority"]
)
def test_step_attributes_outside_the_signature_are_sealed(member: str) -> None:
    job = document("sealed")  # B12
    value = {"timeout_in_minutes": 5, "soft_fail": True, "artifact_paths": "/etc/*", "priority": 3}.get(
        member, {"x": "y"}
    )
    decision = refused({**job, "step": {**job["step"], member: value}})
    assert decision.code == "seal.differs"


def test_free_text_reaches_the_job_as_files_and_never_as_variables() -> None:
    for job in (document("reference"), document("bound")):  # C29
        decision = approve(job)
        for name in ("BUILDKITE_MESSAGE", "BUILDKITE_BUILD_CREATOR", "BUILDKITE_LABEL", "BUILDKITE_PIPELINE_NAME"):
            assert name not in decision.env
        assert decision.texts["BUILDKITE_MESSAGE"] == 'Fix "the" thing\n\n$(reboot) `x`'


def test_late_bound_variable_is_not_visible_to_a_signed_command() -> None:
    job = with_env(document("bound"), TARGET="evil")  # C30
    assert "TARGET" in refused(job).reason


def test_job_that_answers_for_another_is_no_job_of_this_agent() -> None:
    assert refused(with_env(document("bound"), BUILDKITE_JOB_ID="other")).code == "job.identity"  # B07, B08
    assert JOB_ID in refused(with_env(document("bound"), BUILDKITE_JOB_ID="other")).evidence["BUILDKITE_JOB_ID"]


def test_stripping_a_seal_does_not_leave_a_signature_that_holds() -> None:
    job = document("sealed")
    env = {name: value for name, value in job["step"]["env"].items() if name != VARIABLE}
    stripped = {**job, "step": {**job["step"], "env": env}}
    assert refused(stripped).code == "signature.mismatch"
    assert refused(with_env(stripped, **{VARIABLE: None})).code == "signature.mismatch"
    assert refused(with_env(job, **{VARIABLE: "x"})).code == "environment.differs"


# Decided elsewhere: by the agent when a job is accepted or checked out, or by what is not built (an orchestrator).
ELSEWHERE = {
    "D11": "agent: mirrors are the operator's",
    "D12": "agent: submodules",
    "D13": "agent: large files",
    "D16": "agent: known hosts",
    "D17": "agent: git configuration is constructed",
    "D18": "agent: the tree is compared",
}


def test_every_attack_of_these_groups_has_a_test() -> None:
    if not CATALOGUE.is_file():
        if os.environ.get("PIPESEAL_REQUIRE_PEERS") == "1":
            pytest.fail(f"{CATALOGUE} is missing (PIPESEAL_REQUIRE_PEERS=1 demands it)", pytrace=False)
        pytest.skip(f"the catalogue is not beside the checkout ({CATALOGUE})")
    wanted = {row["id"] for row in json.loads(CATALOGUE.read_text("utf-8")) if row["group"] in "BCD"}
    tested = set(re.findall(r'"([BCD]\d\d)"|# ([BCD]\d\d(?:, [BCD]\d\d)*)', Path(__file__).read_text("utf-8")))
    numbers = {number for pair in tested for text in pair for number in text.split(", ") if number}
    assert wanted - numbers - set(ELSEWHERE) == set()


@pytest.mark.skipif(not CATALOGUE.is_file(), reason="the catalogue is not beside the checkout")
def test_every_variable_that_the_catalogue_names_is_refused() -> None:
    """Names taken from the catalogue's own words, so that it and the table cannot drift apart."""
    rows = {row["id"]: row for row in json.loads(CATALOGUE.read_text("utf-8")) if row["group"] in "BC"}
    harmless = {"BUILDKITE_COMMAND", "BUILDKITE_REPO", "BUILDKITE_PLUGINS", "BUILDKITE_PIPELINE_SLUG"}
    missed = []
    for number, row in rows.items():
        for name in re.findall(r"`(?:env\.)?([A-Z][A-Z0-9_]{2,})(?:=[^`]*)?`", row["manipulated"]):
            if name in harmless or number in ("B07", "C02", "C14", "C29"):
                continue
            code = refused(with_env(document("bound"), **{name: "attack\n$(x)"})).code
            if not code.startswith(("environment.", "job.", "signature.", "plugins.")):
                missed.append((number, name, code))
    assert missed == []
