"""The ground of a drill: repositories, keys, a policy, a home, and everything that an attack might touch.

All of it is in one folder. Whatever runs leaves a note: hooks and commands of the honest jobs say that they ran, and
so does every program that an attacker would like to see run. A `git` that notes each call stands before the real one.
"""

from __future__ import annotations

import os
import secrets
import shlex
import shutil
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from pipeseal.errors import Unavailable
from pipeseal.lab.stage import make_repository, run_git
from pipeseal.lab.watch import Watch
from pipeseal.signing.keys.generate import KeyPair, generate_key_pair

# Keys by what they are for; `unknown` is no agent's.
ROLES = ("signer", "second", "elsewhere", "revoked", "expired", "early", "unknown")
YEAR = 365 * 86_400
NAMED_LIKE_A_COMMAND = "sort README.md; scripts/test"

TEST_SCRIPT = """\
#!/bin/bash
# Notes that it ran, and how.
set -eu
record={records}/$BUILDKITE_JOB_ID
mkdir -p "$record"
printf '%s\\0' "$0" "$@" > "$record/argv"
env -0 > "$record/environment"
pwd > "$record/directory"
GIT_CONFIG_GLOBAL=/dev/null git rev-parse HEAD HEAD^{{tree}} > "$record/commit" 2>/dev/null || true
find . -path ./.git -prune -o -type f -print | sort > "$record/files"
echo "command $BUILDKITE_JOB_ID" >> {notes}
mkdir -p out && echo "all is well" > out/report.txt
ln -sfn {outside} linked
echo "the honest command ran"
"""

# {who} runs, and says so.
NOTING = """\
#!/bin/bash
echo "{who} ${{BUILDKITE_JOB_ID:-none}}" >> {notes}
"""

# What a plugin is told of its configuration.
PLUGIN_RECORD = """\
mkdir -p {records}/$BUILDKITE_JOB_ID
env | grep '^BUILDKITE_PLUGIN' | sort > {records}/$BUILDKITE_JOB_ID/plugin
"""

# Prints a secret in every way that somebody might, on purpose or not.
LEAK_SCRIPT = """\
#!/bin/bash
echo "leaking $BUILDKITE_JOB_ID" >> {notes}
secret=$DEPLOY_KEY
echo "plain: $secret"
echo "base64: $(printf %s "$secret" | base64 -w0)"
echo "base64 of a line: $(printf 'x%s' "$secret" | base64 -w0) $(printf 'xy%s' "$secret" | base64 -w0)"
echo "base64 for URLs: $(printf %s "$secret" | base64 -w0 | tr '+/' '-_' | tr -d '=')"
echo "hexadecimal: $(printf %s "$secret" | od -An -tx1 | tr -d ' \\n')"
echo "in capitals: $(printf %s "$secret" | od -An -tx1 | tr -d ' \\n' | tr a-f A-F)"
echo "in JSON: {{\\"key\\": \\"$secret\\"}}"
printf '%s' "${{secret:0:9}}"; sleep 0.05; printf '%s\\n' "${{secret:9}}"
for (( n = 0; n < ${{#secret}}; n++ )); do printf '%s' "${{secret:$n:1}}"; done; echo
echo "the end"
"""

# Tells the server how the job ended, while it runs, with everything that a job knows.
FORGE_SCRIPT = """\
#!/bin/bash
echo "forging $BUILDKITE_JOB_ID" >> {notes}
record={records}/$BUILDKITE_JOB_ID
mkdir -p "$record"
env -0 > "$record/environment"
address=${{BUILDKITE_AGENT_ENDPOINT#http://}}; place=${{address%%/*}}
ask() {{
    exec 3<>"/dev/tcp/${{place%:*}}/${{place#*:}}"
    printf '%s %s HTTP/1.0\\r\\nAuthorization: Token %s\\r\\nContent-Length: %s\\r\\n\\r\\n%s' \
        "$1" "/${{address#*/}}$2" "$BUILDKITE_AGENT_ACCESS_TOKEN" "${{#3}}" "$3" >&3
    head -c 2000 <&3; echo
    exec 3>&-
}}
ask PUT "/jobs/$BUILDKITE_JOB_ID/finish" '{{"exit_status":"0","finished_at":"x"}}' > "$record/finish"
ask PUT "/jobs/$BUILDKITE_JOB_ID/start" '{{"started_at":"x"}}' > "$record/start"
ask POST "/disconnect" '' > "$record/disconnect"
ask PUT "/jobs/00000000-0000-4000-8000-000000000000/accept" '' > "$record/accept"
exit 3
"""

GIT = """\
#!/bin/sh
echo "git ${{BUILDKITE_JOB_ID:-none}} $*" | tr '\\n' ' ' >> {notes}
echo >> {notes}
exec {git} "$@"
"""


class Secret(NamedTuple):
    """A secret that is seeded: where it is, and what must never leave."""

    place: str
    value: str


class Names(NamedTuple):
    """What jobs are called by.

    Parameters:
        organization, pipeline, branch: what they are of.
        repository: its URL, which git is then led to the repository here for; empty for that one's own.
        tags: of the agents.
        keys: algorithm and id of each key that is trusted; the first one signs. Empty for the drill's own.
    """

    organization: str = "acme"
    pipeline: str = "widgets"
    branch: str = "main"
    repository: str = ""
    tags: Mapping[str, str] = MappingProxyType({"queue": "drill"})
    keys: tuple[tuple[str, str], ...] = ()


class Ground:
    """The folder and what is in it.

    Parameters:
        folder: an empty folder.
        names: what jobs are called by.

    Attributes:
        repository: URL of the honest repository, as jobs name it.
        commit, tree: head of its main branch.
        loose_commit: a commit that is on no branch, only on a pull request of a fork.
        plugin: full source of the honest plugin; `plugin_commit` and `plugin_tree` are where its tag was.
        evil: a program that notes that it ran; attacks try to have it run.
        secrets: what is seeded.
    """

    def __init__(self, folder: Path, names: Names) -> None:
        self.folder = folder
        self.names = names
        self.organization, self.pipeline, self.branch = names.organization, names.pipeline, names.branch
        self.tags = dict(names.tags)
        self.notes, self.records = folder / "notes", folder / "records"
        self.home, self.outside, self.bin = folder / "home", folder / "outside", folder / "bin"
        self.keys, self.repositories = folder / "keys", folder / "repositories"
        for path in (self.records, self.home, self.outside, self.bin, self.keys, self.repositories):
            path.mkdir(parents=True)
        self.notes.write_bytes(b"")
        self.registration_token = f"registration-{secrets.token_hex(12)}"
        self.secrets: list[Secret] = []
        self._make_programs()
        self._make_sentinels()
        self._make_keys()
        self._make_repositories()
        self.watch = Watch([*self.sentinels, self.outside])

    @property
    def queue(self) -> str:
        """The agents' queue."""
        return self.tags.get("queue", "default")

    def seed(self, place: str) -> str:
        """A new secret, looked for in every request from now on.

        Parameters:
            place: where it will be, in words.
        """
        value = f"s3cret-{secrets.token_hex(12)}"
        self.secrets.append(Secret(place, value))
        return value

    # --- what there is ----------------------------------------------------------------------------------------------

    def _program(self, path: Path, text: str) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        path.chmod(0o755)
        return path

    def noting(self, who: str) -> str:
        """The text of a program that notes that `who` ran."""
        return NOTING.format(who=who, notes=shlex.quote(str(self.notes)))

    def _make_programs(self) -> None:
        git = shutil.which("git")
        if git is None:
            raise Unavailable("git.failed", "git is not installed", help="install git")
        words = {"notes": shlex.quote(str(self.notes)), "git": shlex.quote(git)}
        self._program(self.bin / "git", GIT.format(**words))
        self.evil = self._program(self.folder / "evil" / "evil", self.noting("attack"))
        # A folder that an attacker would like to be searched first, with the names of everything that a job calls.
        for name in ("git", "bash", "sh", "env", "mkdir", "echo", "make", "ssh"):
            self._program(self.folder / "evil" / "bin" / name, self.noting("attack"))
        self.evil_hooks = self.folder / "evil" / "hooks"
        for name in ("environment", "pre-command", "command", "pre-exit", "checkout", "post-checkout"):
            self._program(self.evil_hooks / name, self.noting("attack"))
        # What the operator has on this agent: hooks that note that something began, and ended.
        self.hooks = self.folder / "hooks"
        for name in ("pre-bootstrap", "environment", "pre-exit"):
            self._program(self.hooks / name, self.noting("operator's-hook"))

    def _make_sentinels(self) -> None:
        places = {
            self.home / ".ssh" / "id_ed25519": "-----BEGIN OPENSSH PRIVATE KEY-----\n{}\n",
            self.home / ".aws" / "credentials": "[default]\naws_secret_access_key = {}\n",
            self.home / ".netrc": "machine example.test login x password {}\n",
            self.home / ".gitconfig": "[user]\n\tname = {}\n"
            f'[url "{self.repositories / "lookalike"}"]\n\tinsteadOf = {self.repositories / "widgets"}\n',
            self.outside / "credentials.txt": "{}\n",
            self.outside / "hooks" / "pre-command": "#!/bin/sh\n# {}\n",
        }
        for path, text in places.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text.format(self.seed(str(path.relative_to(self.folder)))), encoding="utf-8")
        self.sentinels = tuple(places)
        # Ones that the agent's own environment holds.
        names = ("AWS_SECRET_ACCESS_KEY", "DEPLOY_TOKEN")
        self.agent_environment = {name: self.seed(f"the agent's {name}") for name in names}

    def _make_keys(self) -> None:
        self.pairs: dict[str, KeyPair] = {role: generate_key_pair("EdDSA", f"drill-{role}") for role in ROLES}
        if self.names.keys:
            self.pairs |= {kid: generate_key_pair(algorithm, kid) for algorithm, kid in self.names.keys}
            self.pairs["signer"] = self.pairs[self.names.keys[0][1]]
        trusted = [kid for _, kid in self.names.keys] or [role for role in ROLES if role != "unknown"]
        self.write_keys(self.keys / "verification.json", trusted)
        (self.keys / "signing.json").write_text(self.pairs["signer"].private_set, encoding="utf-8")
        (self.keys / "signing.json").chmod(0o600)

    def write_keys(self, path: Path, roles: Iterable[str]) -> None:
        """A verification set with the keys of these roles."""
        import json

        members = [json.loads(self.pairs[role].public_set)["keys"][0] for role in roles]
        path.write_text(json.dumps({"keys": members}), encoding="utf-8")
        path.chmod(0o644)

    def _make_repositories(self) -> None:
        notes, records = shlex.quote(str(self.notes)), shlex.quote(str(self.records))
        plugin = self.repositories / "banner-buildkite-plugin"
        hook = self.noting("plugin") + PLUGIN_RECORD.format(records=records)
        files = {"hooks/pre-command": hook, "plugin.yml": "name: Banner\n"}
        self.plugin_commit = make_repository(plugin, files, tag="v1.0.0")
        self.plugin_tree = run_git(plugin, "rev-parse", "HEAD^{tree}")
        self.plugin_repository, self.plugin = plugin, f"{plugin.as_uri()}#v1.0.0"
        self.evil_plugin_repository = self.repositories / "evil-buildkite-plugin"
        hooks = {f"hooks/{name}": self.noting("attack") for name in ("environment", "command", "pre-command")}
        make_repository(self.evil_plugin_repository, hooks, tag="v1")
        self.evil_plugin = f"{self.evil_plugin_repository.as_uri()}#v1"
        work = self.repositories / "widgets"
        self.work = work
        script = TEST_SCRIPT.format(notes=notes, records=records, outside=shlex.quote(str(self.outside)))
        self.commit = make_repository(
            work,
            {
                "scripts/test": script,
                "scripts/leak": LEAK_SCRIPT.format(notes=notes),
                "scripts/forge": FORGE_SCRIPT.format(notes=notes, records=records),
                # A file whose path is a whole command line: what was sealed as text for a shell stays that.
                NAMED_LIKE_A_COMMAND: self.noting("attack"),
                "README.md": "# Widgets\n",
            },
        )
        (work / NAMED_LIKE_A_COMMAND).chmod(0o755)
        run_git(work, "commit", "--quiet", "--all", "--amend", "--no-edit", "--allow-empty")
        self.commit = run_git(work, "rev-parse", "HEAD")
        self.tree = run_git(work, "rev-parse", "HEAD^{tree}")
        self.repository = self.names.repository or str(work)
        if self.branch != "main":
            run_git(work, "branch", "--force", self.branch)
        # For git to find the repository here under the name that an operator's policy allows.
        self.git_config = self.folder / "gitconfig"
        self.git_config.write_text(f'[url "{work}"]\n\tinsteadOf = {self.repository}\n', encoding="utf-8")
        # The same files in a repository that the policy asks less of.
        self.gadgets = self.repositories / "gadgets"
        run_git(self.repositories, "clone", "--quiet", "--bare", str(work), str(self.gadgets))
        self.other_repository = self.names.repository or str(self.gadgets)
        self.loose_commit = self._commit_elsewhere(work, "attack", f"#!/bin/bash\n{self.evil}\n")
        run_git(work, "update-ref", "refs/pull/7/head", self.loose_commit)
        self.release_commit = self._commit_elsewhere(work, "release", script)
        run_git(work, "branch", "drill-other", self.release_commit)
        self.lookalike = self.repositories / "lookalike"
        make_repository(self.lookalike, {"scripts/test": f"#!/bin/bash\n{self.evil}\n"})

    def _commit_elsewhere(self, work: Path, name: str, script: str) -> str:
        """A commit beside `main`, with another `scripts/test`; no branch is left at it."""
        run_git(work, "checkout", "--quiet", "--detach", "main")
        (work / "scripts" / "test").write_text(script, encoding="utf-8")
        run_git(work, "commit", "--quiet", "--all", "--allow-empty", f"--message={name}")
        commit = run_git(work, "rev-parse", "HEAD")
        run_git(work, "checkout", "--quiet", "main")
        return commit

    def policy(self) -> str:
        """The agents' policy: seals for one pipeline's main branch, signatures for another, and for `gadgets`."""
        repository = _toml(self.repository)
        day = time.strftime("%Y-%m-%d", time.gmtime(time.time() + YEAR))
        return f"""\
version = 1
head-commits = false

[[allow]]
repository = {repository}
pipeline = {_toml(self.pipeline)}
proof = "seal"
branches = [{_toml(self.branch)}]

[[allow]]
repository = {repository}
pipeline = "legacy"

[[allow]]
repository = {_toml(str(self.gadgets))}

[key.drill-elsewhere]
repositories = [{_toml(str(self.gadgets))}]

[key.drill-revoked]
revoked = "left on a train"

[key.drill-expired]
not-after = 2020-01-01

[key.drill-early]
not-before = {day}
"""

    # --- what happened ----------------------------------------------------------------------------------------------

    def ran(self, job_id: str) -> list[str]:
        """Who ran for a job, in order; `attack` whatever the job, since whoever runs it may have lost its id."""
        words = (line.split(" ") for line in self.notes.read_text(encoding="utf-8", errors="replace").splitlines())
        return [word[0] for word in words if len(word) > 1 and (word[1] == job_id or word[0] == "attack")]

    def forget_notes(self) -> None:
        """Begin a new page of notes."""
        os.truncate(self.notes, 0)


def _toml(text: str) -> str:
    import json

    return json.dumps(text, ensure_ascii=False)
