"""Group C: variables by which a server would run code, choose folders and endpoints, or switch protections off."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeseal.lab import lies
from pipeseal.lab.attacks.b_job_and_step import FORBIDDEN, NAME, variables
from pipeseal.lab.scenario import Attempt, Scenario

if TYPE_CHECKING:
    from pipeseal.lab.drill import Drill
    from pipeseal.lab.ground import Ground

_CP = ("CP",)
VALUE, UNKNOWN, IDENTITY = "environment.value", "environment.unknown", "job.identity"
_SHELL_TEXTS = (
    'a"b', "a'b", "$(x)", "`x`", "a;b", "a&b", "a|b", "a\nb", "a b", "-x", "a\x1b[2J", "a..b", "{x,y}", "a>b", "~x",
)  # fmt: skip

_RUNTIMES = (
    "NODE_OPTIONS NODE_PATH PYTHONPATH PYTHONSTARTUP PYTHONHOME PYTHONWARNINGS PERL5OPT PERL5LIB RUBYOPT RUBYLIB "
    "GEM_HOME GEM_PATH BUNDLE_GEMFILE BUNDLE_PATH JAVA_TOOL_OPTIONS _JAVA_OPTIONS JDK_JAVA_OPTIONS CLASSPATH "
    "JAVA_HOME MAVEN_OPTS MAVEN_ARGS GRADLE_OPTS GRADLE_USER_HOME ANT_OPTS SBT_OPTS GOFLAGS GOPROXY GOROOT GOPATH "
    "GOENV GOTOOLCHAIN CGO_CFLAGS CGO_LDFLAGS RUSTC RUSTC_WRAPPER RUSTFLAGS RUSTUP_HOME CARGO_HOME MAKEFLAGS "
    "GNUMAKEFLAGS MAKEFILES npm_config_registry NPM_CONFIG_REGISTRY YARN_REGISTRY PIP_INDEX_URL PIP_EXTRA_INDEX_URL "
    "PIP_CONFIG_FILE UV_INDEX_URL PHPRC PHP_INI_SCAN_DIR LUA_INIT LUA_PATH CC CXX LD AR CFLAGS CXXFLAGS LDFLAGS "
    "CMAKE_TOOLCHAIN_FILE PKG_CONFIG_PATH DOTNET_STARTUP_HOOKS CORECLR_PROFILER"
)


def _attempt(job: str = "sealed", *codes: str, **env: str) -> Attempt:
    name = next(iter(env))
    return Attempt(lies.set_env(**env), f"{name}={env[name][:30]!r}", job=job, codes=codes)


def _slugs(_ground: Ground) -> list[Attempt]:
    return [
        _attempt(job, code, **{name: value})
        for name in ("BUILDKITE_ORGANIZATION_SLUG", "BUILDKITE_PIPELINE_SLUG")
        for value in ("../../x", "/etc", "..", "A b", "a/b", "-x", "x\n")
        # Where the step is bound to nothing, the value itself is what tells.
        for job, code in (("sealed", "signature.mismatch"), ("bound", "signature.mismatch"), ("reference", VALUE))
    ]


def _planted_plugin(drill: Drill) -> None:
    """A folder where a plugin would be cloned to, filled by somebody before: it is not what was sealed."""
    twin = drill.twin("sealed")
    folders = list((drill.agent_folder("runner") / "plugins").glob(f"*/*-{drill.ground.plugin_commit[:12]}"))
    drill.must(bool(folders), "there is no folder of plugins to plant anything in")
    planted = folders[0] / "hooks" / "pre-command"
    honest = planted.read_text(encoding="utf-8")
    planted.write_text(drill.ground.noting("attack"), encoding="utf-8")
    drill.attempts += 1
    again = drill.twin("sealed", again=True)
    drill.must("attack" not in again.ran and again.ran == twin.ran, "the planted plugin ran")
    drill.must(
        planted.read_text(encoding="utf-8") == honest, "the planted plugin is still there", "planted plugin not used"
    )


def _values(ground: Ground) -> list[Attempt]:
    references = [
        _attempt("reference", **{name: value})
        for name in ("BUILDKITE_BRANCH", "BUILDKITE_TAG", "BUILDKITE_PIPELINE_DEFAULT_BRANCH")
        for value in _SHELL_TEXTS
    ]
    return [*references, *(_attempt("sealed", BUILDKITE_PULL_REQUEST_BASE_BRANCH=value) for value in _SHELL_TEXTS)]


def _free_text(drill: Drill) -> None:
    """Free text is no variable: a job gets it as a file, byte for byte, or not at all."""
    poison = 'x"; touch /x #\n$(reboot) `x` \x1b[2J'
    names = (
        "BUILDKITE_MESSAGE",
        "BUILDKITE_BUILD_CREATOR",
        "BUILDKITE_PIPELINE_NAME",
        "BUILDKITE_PULL_REQUEST_LABELS",
    )
    drill.twin("sealed")
    record = drill.send(lies.set_env(**dict.fromkeys(names, poison))(drill.honest("sealed")))
    execution = drill.must_run(record, "sealed", "free text")
    for name in names:
        drill.must(name not in execution.environment, f"{name} reached the job as a variable", "free text as files")
        drill.must(f"{name}_FILE" in execution.environment, f"{name} reached the job in no way")
    drill.must(
        all("touch /x" not in value for value in execution.environment.values()), "free text got into a variable"
    )


def _late(ground: Ground) -> list[Attempt]:
    return [
        Attempt(lies.set_env(TARGET=f"; {ground.evil}"), "for a command that uses it", job="variable"),
        Attempt(lies.set_env(TARGET="production"), "for one that does not"),
    ]


SCENARIOS = (
    Scenario(
        id="C01",
        title="Variables of the dynamic loader",
        actors=_CP,
        change="`LD_PRELOAD`, `LD_LIBRARY_PATH`, `LD_AUDIT`, `DYLD_...`, `GCONV_PATH`",
        happens="a job's environment is built from nothing, and what the server may set is one table",
        codes=(FORBIDDEN,),
        attempts=lambda ground: variables(
            "LD_PRELOAD LD_LIBRARY_PATH LD_AUDIT DYLD_INSERT_LIBRARIES DYLD_LIBRARY_PATH GCONV_PATH", str(ground.evil)
        ),
    ),
    Scenario(
        id="C02",
        title="The same through the list of secrets",
        actors=_CP,
        change="`BUILDKITE_SECRETS_CONFIG` with `LD_PRELOAD` as its variable",
        happens="the list is the signed step's alone",
        codes=(FORBIDDEN,),
        attempts=lambda _ground: [
            _attempt(BUILDKITE_SECRETS_CONFIG='[{"key":"deploy-key","environment_variable":"LD_PRELOAD"}]'),
            _attempt("secrets", BUILDKITE_SECRETS_CONFIG='[{"key":"deploy-key","environment_variable":"BASH_ENV"}]'),
        ],
    ),
    Scenario(
        id="C03",
        title="Variables that shells run at their start, and exported functions",
        actors=_CP,
        change="`BASH_ENV`, `ENV`, `BASH_FUNC_make%%`, `SHELLOPTS`, `PS4`, `CDPATH`, `IFS`",
        happens="their names are refused",
        codes=(FORBIDDEN, NAME),
        attempts=lambda ground: [
            *variables("BASH_ENV ENV SHELLOPTS PS4 CDPATH IFS BASHOPTS PROMPT_COMMAND ZDOTDIR", str(ground.evil)),
            Attempt(lies.set_variables({"BASH_FUNC_mkdir%%": f"() {{ {ground.evil}; }}"}), "a function"),
        ],
    ),
    Scenario(
        id="C04",
        title="Programs that git runs",
        actors=_CP,
        change="`GIT_SSH_COMMAND`, `GIT_ASKPASS`, `GIT_EXEC_PATH`, `GIT_TEMPLATE_DIR`, `GIT_TRACE`, ...",
        happens="git runs with a constructed environment, and the names are refused",
        codes=(FORBIDDEN,),
        attempts=lambda ground: variables(
            "GIT_SSH_COMMAND GIT_SSH GIT_PROXY_COMMAND GIT_ASKPASS SSH_ASKPASS GIT_EXEC_PATH GIT_TEMPLATE_DIR "
            "GIT_EXTERNAL_DIFF GIT_TRACE GIT_EDITOR GIT_PAGER PAGER EDITOR",
            str(ground.evil),
        ),
    ),
    Scenario(
        id="C05",
        title="git's configuration through variables",
        actors=_CP,
        change="`GIT_CONFIG_COUNT` and kin, `GIT_CONFIG_PARAMETERS`, `GIT_CONFIG_GLOBAL`, `XDG_CONFIG_HOME`, `HOME`",
        happens="git reads no configuration but the operator's",
        codes=(FORBIDDEN,),
        setting="`git-config-file`",
        attempts=lambda ground: [
            Attempt(
                lies.set_env(
                    GIT_CONFIG_COUNT="1", GIT_CONFIG_KEY_0="core.fsmonitor", GIT_CONFIG_VALUE_0=str(ground.evil)
                ),
                "GIT_CONFIG_COUNT",
            ),
            *variables(
                "GIT_CONFIG_PARAMETERS GIT_CONFIG_GLOBAL GIT_CONFIG_SYSTEM XDG_CONFIG_HOME HOME", str(ground.outside)
            ),
        ],
    ),
    Scenario(
        id="C06",
        title="git's folders through variables",
        actors=_CP,
        change="`GIT_DIR`, `GIT_WORK_TREE`, `GIT_INDEX_FILE`, `GIT_OBJECT_DIRECTORY`, ...",
        happens="git works where the agent says",
        codes=(FORBIDDEN,),
        attempts=lambda ground: variables(
            "GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE GIT_OBJECT_DIRECTORY GIT_ALTERNATE_OBJECT_DIRECTORIES",
            str(ground.lookalike / ".git"),
        ),
    ),
    Scenario(
        id="C07",
        title="Search paths",
        actors=_CP,
        change="`PATH`, `TMPDIR`, `HOME`, `PATHEXT`",
        happens="they are the agent's own",
        codes=(FORBIDDEN,),
        attempts=lambda ground: variables("PATH TMPDIR TEMP HOME PATHEXT", str(ground.evil.parent / "bin")),
    ),
    Scenario(
        id="C08",
        title="Variables of language runtimes and build tools",
        actors=_CP,
        change="`NODE_OPTIONS`, `PYTHONPATH`, `RUSTC_WRAPPER`, `MAKEFLAGS`, `PIP_INDEX_URL`, `CC`, ... (60 names)",
        happens="names outside the table are refused",
        codes=(FORBIDDEN,),
        attempts=lambda ground: variables(_RUNTIMES, str(ground.evil)),
    ),
    Scenario(
        id="C09",
        title="Proxies and certificates",
        actors=("CP", "MITM"),
        change="`HTTPS_PROXY`, `SSL_CERT_FILE`, `GIT_SSL_NO_VERIFY`, `NODE_EXTRA_CA_CERTS`, ...",
        happens="names outside the table are refused",
        codes=(FORBIDDEN,),
        attempts=lambda _ground: variables(
            "HTTPS_PROXY https_proxy HTTP_PROXY ALL_PROXY no_proxy SSL_CERT_FILE SSL_CERT_DIR CURL_CA_BUNDLE "
            "CURL_HOME GIT_SSL_NO_VERIFY NODE_EXTRA_CA_CERTS NODE_TLS_REJECT_UNAUTHORIZED AWS_CA_BUNDLE "
            "REQUESTS_CA_BUNDLE",
            "http://127.0.0.1:9",
        ),
    ),
    Scenario(
        id="C10",
        title="Endpoints of clouds and tools",
        actors=_CP,
        change="`AWS_ENDPOINT_URL`, `AWS_CONFIG_FILE`, `KUBECONFIG`, `DOCKER_HOST`, `VAULT_ADDR`, ...",
        happens="names outside the table are refused",
        codes=(FORBIDDEN,),
        attempts=lambda _ground: variables(
            "AWS_ENDPOINT_URL AWS_ENDPOINT_URL_S3 AWS_CONFIG_FILE AWS_PROFILE AWS_ACCESS_KEY_ID "
            "GOOGLE_APPLICATION_CREDENTIALS KUBECONFIG DOCKER_HOST DOCKER_CONFIG VAULT_ADDR VAULT_TOKEN "
            "AZURE_CONFIG_DIR",
            "http://127.0.0.1:9",
        ),
    ),
    Scenario(
        id="C11",
        title="Working directory chosen by the server",
        actors=_CP,
        change="`BUILDKITE_BUILD_CHECKOUT_PATH`",
        happens="the folder is a function of the agent's settings and the proven identity",
        codes=(FORBIDDEN,),
        attempts=lambda ground: variables("BUILDKITE_BUILD_CHECKOUT_PATH BUILDKITE_BUILD_PATH", str(ground.outside)),
    ),
    Scenario(
        id="C12",
        title="A folder deleted",
        actors=_CP,
        change="`BUILDKITE_BUILD_CHECKOUT_PATH` and `BUILDKITE_CLEAN_CHECKOUT`",
        happens="no path that is emptied comes from the server",
        codes=(FORBIDDEN,),
        attempts=lambda ground: [
            _attempt(BUILDKITE_BUILD_CHECKOUT_PATH=str(ground.outside), BUILDKITE_CLEAN_CHECKOUT="true"),
            _attempt(BUILDKITE_CLEAN_CHECKOUT="true"),
        ],
    ),
    Scenario(
        id="C13",
        title="Paths in the names of organisation and pipeline",
        actors=_CP,
        change="`BUILDKITE_ORGANIZATION_SLUG`, `BUILDKITE_PIPELINE_SLUG`, such as `../../x`",
        happens="the step is bound to them; where it is not, the value is no such name",
        codes=("signature.mismatch", VALUE),
        attempts=_slugs,
    ),
    Scenario(
        id="C14",
        title="A plugin's folder chosen, or filled before",
        actors=("CP", "PR"),
        change="`BUILDKITE_AGENT_NAME=../builds/...`; a folder that an earlier job filled",
        happens="an agent's folders have its own name; a plugin is checked out at its sealed commit each time",
        codes=(VALUE, IDENTITY),
        setting='`proof = "seal"` pins plugins to commits; otherwise `plugins-always-clone-fresh`',
        attempts=lambda _ground: [
            _attempt(BUILDKITE_AGENT_NAME="../builds/acme"),
            _attempt(BUILDKITE_AGENT_NAME="another"),
            _attempt(BUILDKITE_AGENT_ID="0193d0a1-0000-7000-8000-00000000beef"),
        ],
        play=_planted_plugin,
    ),
    Scenario(
        id="C15",
        title="Checkout switched off or changed",
        actors=_CP,
        change="`BUILDKITE_SKIP_CHECKOUT`, `BUILDKITE_GIT_SUBMODULES`, ...",
        happens="how a checkout is done is sealed, or the operator's",
        codes=(FORBIDDEN,),
        attempts=lambda _ground: variables(
            "BUILDKITE_SKIP_CHECKOUT BUILDKITE_GIT_SUBMODULES BUILDKITE_GIT_SKIP_FETCH_EXISTING_COMMITS "
            "BUILDKITE_GIT_CHECKOUT_TIMEOUT",
            "true",
        ),
    ),
    Scenario(
        id="C16",
        title="Only some files checked out",
        actors=_CP,
        change="`BUILDKITE_GIT_SPARSE_CHECKOUT_PATHS`, `..._MODE`",
        happens="how a checkout is done is sealed, or the operator's",
        codes=(FORBIDDEN,),
        attempts=lambda _ground: variables(
            "BUILDKITE_GIT_SPARSE_CHECKOUT_PATHS BUILDKITE_GIT_SPARSE_CHECKOUT_MODE", "scripts"
        ),
    ),
    Scenario(
        id="C17",
        title="Flags of git",
        actors=_CP,
        change="`BUILDKITE_GIT_CLONE_FLAGS`, `..._FETCH_FLAGS`, `..._CHECKOUT_FLAGS`, `..._CLEAN_FLAGS`, ...",
        happens="flags are sealed, or the operator's",
        codes=(FORBIDDEN,),
        attempts=lambda ground: variables(
            "BUILDKITE_GIT_CLONE_FLAGS BUILDKITE_GIT_FETCH_FLAGS BUILDKITE_GIT_CHECKOUT_FLAGS "
            "BUILDKITE_GIT_CLEAN_FLAGS BUILDKITE_GIT_COMMIT_VERIFICATION",
            f"--upload-pack={ground.evil}",
        ),
    ),
    Scenario(
        id="C18",
        title="The agent's own paths and switches",
        actors=_CP,
        change="`BUILDKITE_HOOKS_PATH`, `BUILDKITE_SHELL`, `BUILDKITE_COMMAND_EVAL`, ...",
        happens="refused, so that the attempt is seen, and not quietly overwritten",
        codes=(FORBIDDEN,),
        attempts=lambda ground: variables(
            "BUILDKITE_HOOKS_PATH BUILDKITE_ADDITIONAL_HOOKS_PATHS BUILDKITE_PLUGINS_PATH BUILDKITE_BIN_PATH "
            "BUILDKITE_SHELL BUILDKITE_HOOKS_SHELL BUILDKITE_COMMAND_EVAL BUILDKITE_PLUGINS_ENABLED "
            "BUILDKITE_LOCAL_HOOKS_ENABLED BUILDKITE_SSH_KEYSCAN",
            str(ground.evil_hooks),
        ),
    ),
    Scenario(
        id="C19",
        title="Mirrors of repositories",
        actors=_CP,
        change="`BUILDKITE_GIT_MIRRORS_PATH`, `BUILDKITE_GIT_CLONE_MIRROR_FLAGS`, ...",
        happens="mirrors are the operator's",
        codes=(FORBIDDEN,),
        attempts=lambda ground: variables(
            "BUILDKITE_GIT_MIRRORS_PATH BUILDKITE_GIT_CLONE_MIRROR_FLAGS BUILDKITE_GIT_SUBMODULE_CLONE_CONFIG "
            "BUILDKITE_GIT_MIRROR_CHECKOUT_MODE",
            str(ground.outside),
        ),
    ),
    Scenario(
        id="C20",
        title="What is hidden in logs",
        actors=_CP,
        change="`BUILDKITE_REDACTED_VARS` emptied",
        happens="what is hidden is the operator's to say",
        codes=(FORBIDDEN,),
        attempts=lambda _ground: [
            _attempt(BUILDKITE_REDACTED_VARS=""),
            _attempt("secrets", BUILDKITE_REDACTED_VARS=""),
        ],
    ),
    Scenario(
        id="C21",
        title="An SSH key from the server",
        actors=_CP,
        change="`BUILDKITE_GIT_SSH_KEY`",
        happens="credentials for git are the machine's own",
        codes=(FORBIDDEN,),
        attempts=lambda _ground: [_attempt(BUILDKITE_GIT_SSH_KEY="-----BEGIN OPENSSH PRIVATE KEY-----")],
    ),
    Scenario(
        id="C22",
        title="Large files switched on",
        actors=_CP,
        change="`BUILDKITE_GIT_LFS_ENABLED`",
        happens="how a checkout is done is sealed, or the operator's",
        codes=(FORBIDDEN,),
        attempts=lambda _ground: [_attempt(BUILDKITE_GIT_LFS_ENABLED="true")],
    ),
    Scenario(
        id="C23",
        title="git's configuration of the whole machine",
        actors=_CP,
        change="`BUILDKITE_USE_GITHUB_APP_GIT_CREDENTIALS`, `BUILDKITE_USE_REPOSITORY_PROVIDER_GIT_CREDENTIALS`",
        happens="nothing of the machine's configuration is ever written",
        codes=(FORBIDDEN,),
        attempts=lambda _ground: variables(
            "BUILDKITE_USE_GITHUB_APP_GIT_CREDENTIALS BUILDKITE_USE_REPOSITORY_PROVIDER_GIT_CREDENTIALS", "true"
        ),
    ),
    Scenario(
        id="C24",
        title="Redaction of single commands switched off",
        actors=_CP,
        change="`BUILDKITE_AGENT_NO_JOB_API`, `..._SKIP_SECRET_REDACTION`, `..._SKIP_TOKEN_REDACTION`",
        happens="no variable of the server reaches these commands",
        codes=(FORBIDDEN,),
        attempts=lambda _ground: variables(
            "BUILDKITE_AGENT_NO_JOB_API BUILDKITE_AGENT_SECRET_GET_SKIP_SECRET_REDACTION "
            "BUILDKITE_AGENT_OIDC_REQUEST_TOKEN_SKIP_TOKEN_REDACTION",
            "true",
        ),
    ),
    Scenario(
        id="C25",
        title="Tracing switched on",
        actors=_CP,
        change="`BUILDKITE_TRACING_BACKEND`, `OTEL_EXPORTER_OTLP_ENDPOINT`, ...",
        happens="names outside the table are refused",
        codes=(FORBIDDEN,),
        attempts=lambda _ground: variables(
            "BUILDKITE_TRACING_BACKEND OTEL_EXPORTER_OTLP_ENDPOINT OTEL_EXPORTER_OTLP_HEADERS "
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT BUILDKITE_TRACING_TRACEPARENT",
            "http://127.0.0.1:9",
        ),
    ),
    Scenario(
        id="C26",
        title="Knobs of the agent that are set only sometimes",
        actors=_CP,
        change="`BUILDKITE_CANCEL_SIGNAL`, `BUILDKITE_PTY`, `BUILDKITE_NO_LOCAL_HOOKS`, ...",
        happens="no setting of an agent travels with a job",
        codes=(FORBIDDEN,),
        attempts=lambda _ground: variables(
            "BUILDKITE_CANCEL_SIGNAL BUILDKITE_AGENT_PROFILE BUILDKITE_PTY BUILDKITE_AGENT_LOG_LEVEL "
            "BUILDKITE_NO_LOCAL_HOOKS",
            "true",
        ),
    ),
    Scenario(
        id="C27",
        title="A commit that git would take for an option",
        actors=_CP,
        change="`BUILDKITE_COMMIT=--output=<path>`",
        happens="a commit is a full object id, and git is never given a name where it looks for options",
        codes=("signature.mismatch", "commit.not_full", VALUE),
        attempts=lambda ground: [
            _attempt(job, *codes, BUILDKITE_COMMIT=value)
            for value in (f"--output={ground.outside}/x", "-x", "a" * 39, "A" * 40)
            for job, codes in (("sealed", ("signature.mismatch",)), ("reference", ("commit.not_full", VALUE)))
        ],
    ),
    Scenario(
        id="C28",
        title="Artifact paths that a command would take for options",
        actors=_CP,
        change="`BUILDKITE_ARTIFACT_PATHS=--endpoint=...`, `BUILDKITE_ARTIFACT_UPLOAD_DESTINATION`",
        happens="patterns are sealed, and uploading takes typed arguments in the agent itself",
        codes=("seal.differs", VALUE, FORBIDDEN),
        attempts=lambda ground: [
            *(
                _attempt(job, code, BUILDKITE_ARTIFACT_PATHS=value)
                for value in ("--endpoint=http://127.0.0.1:9", "ok;-x", f"{ground.outside}/*", "../../../etc/passwd")
                for job, code in (("sealed", "seal.differs"), ("bound", VALUE))
            ),
            _attempt("sealed", FORBIDDEN, BUILDKITE_ARTIFACT_UPLOAD_DESTINATION="**/*"),
        ],
    ),
    Scenario(
        id="C29",
        title="Free text that scripts would use",
        actors=("CP", "UI", "PR"),
        change="message, branch, tag, names and labels with quotes, newlines and escapes",
        happens="names have a form, and free text reaches a job as a file",
        codes=("signature.mismatch", VALUE),
        setting="`server-variables` can let a free text become a variable too",
        attempts=_values,
        play=_free_text,
    ),
    Scenario(
        id="C30",
        title="A variable that a signed command uses and nobody signed",
        actors=_CP,
        change='`TARGET`, for a signed `deploy "$TARGET"`',
        happens="a variable that nobody signed refuses the job by name",
        codes=(UNKNOWN,),
        setting="`server-variables`, `allowed-environment-variables`",
        attempts=_late,
    ),
)
