"""What checkouts are made of: mirrors that jobs wrote into, foreign submodules, false files, other hosts."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from benchmarks.peers import find_peer
from pipeseal.agent.mirrors import mirror_folder
from pipeseal.errors import VerificationError
from pipeseal.repository.objects import verify_commit_objects
from tests.agent.agent_process import agent_process
from tests.agent.fake_server import FakeServer, fake_server
from tests.agent.job_requests import outcome, run, unsigned
from tests.agent.repositories import git, make_repository
from tests.agent.test_trust import Place

OPEN = ("--no-verification",)


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with fake_server(20) as running:
        yield running


@pytest.fixture
def place(tmp_path: Path) -> Place:
    (tmp_path / "trust").mkdir()
    return Place(tmp_path / "trust")


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """The URL of a server on this machine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def plant(store: Path, name: str, kind: bytes, content: bytes) -> None:
    """Put other content under the id of an object."""
    path = store / "objects" / name[:2] / name[2:]
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    path.write_bytes(zlib.compress(b"%b %d\0" % (kind, len(content)) + content))


# --- D11: mirrors -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["reference", "dissociate"])
def test_a_mirror_that_a_job_wrote_into_gives_later_jobs_nothing_false(
    server: FakeServer, tmp_path: Path, mode: str
) -> None:
    repository = tmp_path / "widgets"
    commit = make_repository(repository, {"run": "echo good\n"})
    mirrors = tmp_path / "mirrors"
    mirror = mirror_folder(mirrors, str(repository))
    flags = ("--git-mirrors-path", str(mirrors), "--git-mirror-checkout-mode", mode, "--checkout-attempts", "2")
    evil = tmp_path / "evil"
    make_repository(evil, {"run": "echo evil\n"})
    with agent_process(server, tmp_path, *OPEN, *flags):
        honest = run(server, unsigned("./run", repository=str(repository), commit=commit), "honest")
        assert outcome(honest) == ("0", "", "") and "\ngood" in honest.text, honest.text
        # A job of another pipeline on this machine moves the mirror's branch, its address and its hooks.
        poison = f"""
            cd {mirror}
            git fetch -q {evil} +refs/heads/main:refs/heads/main
            git config remote.origin.url {evil}
            git config url.{evil}.insteadOf {repository}
            mkdir -p hooks; printf '#!/bin/sh\\necho hooked\\n' > hooks/post-checkout; chmod +x hooks/post-checkout
            echo poisoned
        """
        poisoning = unsigned(poison, env={"BUILDKITE_PIPELINE_SLUG": "other"}, repository=str(evil))
        assert "\npoisoned" in run(server, poisoning, "poisons").text
        for commit_name, job_id in ((commit, "by-id"), ("HEAD", "by-branch")):
            raw = unsigned("./run", repository=str(repository), commit=commit_name)
            raw["env"]["BUILDKITE_CLEAN_CHECKOUT"] = "true"
            after = run(server, raw, job_id)
            assert outcome(after) == ("0", "", "") and "\ngood" in after.text, after.text
            assert "evil" not in after.text.rpartition("Running")[2] and "hooked" not in after.text


@pytest.mark.parametrize("mode", ["reference", "dissociate"])
def test_a_file_under_the_id_of_another_in_a_mirror_is_found_out(
    server: FakeServer, tmp_path: Path, mode: str
) -> None:
    repository = tmp_path / "widgets"
    commit = make_repository(repository, {"run": "echo good\n"})
    url = repository.as_uri()
    mirrors = tmp_path / "mirrors"
    mirror = mirror_folder(mirrors, url)
    flags = ("--git-mirrors-path", str(mirrors), "--git-mirror-checkout-mode", mode, "--checkout-attempts", "2")
    raw = unsigned("./run", repository=url, commit=commit)
    raw["env"]["BUILDKITE_CLEAN_CHECKOUT"] = "true"
    with agent_process(server, tmp_path, *OPEN, *flags):
        honest = run(server, raw, "honest")
        assert outcome(honest) == ("0", "", "") and "\ngood" in honest.text, honest.text
        packs = mirror / "objects" / "pack"
        for pack in packs.glob("*.pack"):
            moved = pack.rename(tmp_path / pack.name)
            pack.with_suffix(".idx").unlink()
            with moved.open("rb") as data:
                subprocess.run(["git", "-C", mirror, "unpack-objects", "-q"], stdin=data, check=True)
        again = run(server, raw, "again")
        assert outcome(again) == ("0", "", "") and "\ngood" in again.text, again.text
        plant(mirror, git(repository, "rev-parse", "HEAD:run"), b"blob", b"echo evil\n")
        after = run(server, raw, "after")
        assert outcome(after) == ("0", "", "") and "\ngood" in after.text, after.text
        assert "is not what its id says" in after.text and "\nevil" not in after.text


@pytest.mark.parametrize("what", ["HEAD", "HEAD^{tree}", "HEAD:folder", "HEAD:folder/run"])
def test_any_object_that_is_another_is_found(tmp_path: Path, what: str) -> None:
    repository = tmp_path / "widgets"
    commit = make_repository(repository, {"folder/run": "echo good\n", "other": "x"})
    verify_commit_objects(repository, commit)
    name = git(repository, "rev-parse", what)
    kind = git(repository, "cat-file", "-t", name)
    content = git(repository, "cat-file", kind, name).encode() + b"\n" if kind != "tree" else b""
    plant(repository / ".git", name, kind.encode(), content.replace(b"good", b"evil") + b"more" * (kind != "tree"))
    with pytest.raises(VerificationError) as caught:
        verify_commit_objects(repository, commit)
    assert caught.value.code == "checkout.damaged"


@pytest.mark.parametrize(
    "tree", [b"\0", b"100644 run", b"100644 run\0short", b"100644\0run " + bytes(20), b" \0" + bytes(20)]
)
def test_a_tree_that_is_none_is_found(tmp_path: Path, tree: bytes) -> None:
    repository = tmp_path / "widgets"
    make_repository(repository, {"file": "x"})

    def put(kind: str, content: bytes) -> str:
        command = ["git", "-C", str(repository), "hash-object", "-t", kind, "--literally", "-w", "--stdin"]
        return subprocess.run(command, input=content, check=True, capture_output=True).stdout.decode().strip()

    for named in (put("tree", tree), "0" * 40, "none"):
        commit = put("commit", f"tree {named}\n".encode())
        with pytest.raises(VerificationError) as caught:
            verify_commit_objects(repository, commit)
        assert caught.value.code == "checkout.damaged"


# --- D12: submodules ----------------------------------------------------------------------------------------------


def test_submodules_come_from_where_the_policy_says(server: FakeServer, place: Place, tmp_path: Path) -> None:
    part, evil = tmp_path / "acme" / "part", tmp_path / "evil"
    make_repository(part, {"inside": "of the part"})
    make_repository(evil, {"inside": "evil"})
    repository = tmp_path / "widgets"
    make_repository(repository, {"file": "one"})
    allow = ("-c", "protocol.file.allow=always")
    git(repository, *allow, "submodule", "--quiet", "add", str(part), "sub")
    git(repository, "commit", "-qm", "With a part")
    flags = place.flags("--git-submodule-clone-config", "protocol.file.allow=always", "--checkout-attempts", "3")

    def code(job_id: str) -> tuple[str, str]:
        done = run(server, place.job("echo it ran; cat sub/inside", str(repository)), job_id)
        assert done.finish is not None
        assert ("it ran" in done.text.splitlines()) == (outcome(done)[0] == "0"), done.text
        return (done.finish.get("refusal") or {}).get("code", ""), done.text

    place.write("policy.toml", f'version = 1\nstatic-steps = "any"\nsubmodules = ["{tmp_path}/acme/*"]\n')
    with agent_process(server, tmp_path, *flags):
        honest, text = code("honest")
        assert honest == "" and "of the part" in text
        # A part of the part comes from elsewhere: found out before anything of it is fetched.
        git(part, *allow, "submodule", "--quiet", "add", str(evil), "deep")
        git(part, "commit", "-qm", "With something of others")
        git(repository / "sub", "pull", "-q")
        git(repository, "commit", "-qam", "Newer part")
        refused, text = code("deep")
        assert refused == "submodule.not_allowed" and str(evil) in text and "trying again" not in text
        assert not any("evil" in str(path) for path in (tmp_path / "builds").rglob("modules/*/modules/*/packed-refs"))
        git(repository, "revert", "--no-edit", "-n", "HEAD")
        git(repository, "commit", "-qm", "Back")
        assert code("back")[0] == ""
        (repository / ".gitmodules").write_text(f'[submodule "sub"]\n\tpath = sub\n\turl = {evil}\n', "utf-8")
        git(repository, "commit", "-qam", "From elsewhere")
        assert code("moved")[0] == "submodule.not_allowed"
        place.write("policy.toml", 'version = 1\nstatic-steps = "any"\nsubmodules = []\n')
        assert code("none")[0] == "submodule.not_allowed"


def test_without_that_submodules_come_from_the_repository_s_own_host(
    server: FakeServer, place: Place, tmp_path: Path
) -> None:
    allow = ("-c", "protocol.file.allow=always")
    config = tmp_path / "gitconfig"
    config.write_text(
        "".join(
            f'[url "{tmp_path}/{host}/"]\n\tinsteadOf = ssh://git@{host}.example.test/\n' for host in ("git", "evil")
        ),
        "utf-8",
    )
    for name in ("git/part", "evil/part", "git/widgets"):
        make_repository(tmp_path / name, {"inside": f"of {name}"})
    repository = tmp_path / "git" / "widgets"
    own = "ssh://git@git.example.test/widgets"
    git(repository, *allow, "submodule", "--quiet", "add", str(tmp_path / "git" / "part"), "sub")

    def send(job_id: str, url: str) -> tuple[str, str]:
        (repository / ".gitmodules").write_text(f'[submodule "sub"]\n\tpath = sub\n\turl = {url}\n', "utf-8")
        git(repository, "add", ".gitmodules")
        git(repository, "commit", "-qm", job_id, "--allow-empty")
        done = run(server, place.job("echo it ran; cat sub/inside", own), job_id)
        assert done.finish is not None
        assert ("it ran" in done.text.splitlines()) == (outcome(done)[0] == "0"), done.text
        return (done.finish.get("refusal") or {}).get("code", ""), done.text

    place.write("policy.toml", 'version = 1\nstatic-steps = "any"\n')
    flags = place.flags(
        "--git-submodule-clone-config", "protocol.file.allow=always", "--git-config-file", str(config)
    )
    foreign = "ssh://git@evil.example.test/part"
    with agent_process(server, tmp_path, *flags):
        for job_id, url in (("same", "ssh://git@git.example.test/part"), ("relative", "../part")):
            refused, text = send(job_id, url)
            assert refused == "" and "of git/part" in text, text
        theirs = git(tmp_path / "evil" / "part", "rev-parse", "HEAD").strip()
        git(repository, "update-index", "--cacheinfo", f"160000,{theirs},sub")
        git(repository, "commit", "-qm", "Theirs")
        refused, text = send("foreign", foreign)
        assert refused == "submodule.host" and foreign in text and "of evil" not in text, text
        place.write("policy.toml", f'version = 1\nstatic-steps = "any"\nsubmodules = ["{foreign}"]\n')
        refused, text = send("named", foreign)
        assert refused == "" and "of evil/part" in text, text


# --- D13: large files ---------------------------------------------------------------------------------------------


@pytest.mark.peer("git-lfs")
def test_large_files_are_what_their_pointers_say(server: FakeServer, tmp_path: Path) -> None:
    good = b"good large file\n"
    oid = hashlib.sha256(good).hexdigest()
    answers = {"body": good}

    class Lfs(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            action = {"download": {"href": f"http://{self.headers['Host']}/{oid}"}}
            told = {"transfer": "basic", "objects": [{"oid": oid, "size": len(good), "actions": action}]}
            self._send(json.dumps(told).encode(), "application/vnd.git-lfs+json")

        def do_GET(self) -> None:
            self._send(answers["body"], "application/octet-stream")

        def _send(self, body: bytes, kind: str) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    with serving(Lfs) as url:
        repository = tmp_path / "widgets"
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {len(good)}\n"
        files = {
            ".gitattributes": "*.bin filter=lfs -text\n",
            ".lfsconfig": f"[lfs]\n\turl = {url}\n",
            "big.bin": pointer,
        }
        make_repository(repository, files)
        raw = unsigned(
            "echo it ran; cat big.bin", repository=str(repository), env={"BUILDKITE_GIT_LFS_ENABLED": "true"}
        )
        with agent_process(server, tmp_path, *OPEN, "--checkout-attempts", "1"):
            honest = run(server, raw, "honest")
            assert outcome(honest) == ("0", "", "") and "good large file" in honest.text, honest.text
            answers["body"] = b"evil large file\n"
            raw["env"]["BUILDKITE_CLEAN_CHECKOUT"] = "true"
            refused = run(server, raw, "evil")
            assert outcome(refused)[0] != "0", refused.text
            assert "it ran" not in refused.text.splitlines() and "evil large file" not in refused.text


# --- D14, D15: which host is asked --------------------------------------------------------------------------------


def test_only_the_signed_host_is_contacted_whatever_jobs_left_behind(
    server: FakeServer, place: Place, tmp_path: Path
) -> None:
    asked: list[str] = []

    def make_handler(name: str) -> type[SimpleHTTPRequestHandler]:
        class Files(SimpleHTTPRequestHandler):
            def __init__(self, *arguments: Any) -> None:
                super().__init__(*arguments, directory=str(tmp_path / name))

            def log_message(self, format: str, *arguments: Any) -> None:
                asked.append(name)

        return Files

    for name in ("good", "evil"):
        make_repository(tmp_path / name / "work", {"run": f"echo {name}\n"})
        git(tmp_path / name, "clone", "-q", "--bare", "work", "app.git")
        git(tmp_path / name / "app.git", "update-server-info")
    place.write("policy.toml", 'version = 1\nstatic-steps = "any"\n')
    with serving(make_handler("good")) as good, serving(make_handler("evil")) as evil:
        url = f"{good}/app.git"
        with agent_process(server, tmp_path, *place.flags("--checkout-attempts", "1")) as agent:
            honest = run(server, place.job("./run", url), "honest")
            assert outcome(honest) == ("0", "", "") and "\ngood" in honest.text, honest.text
            # The job writes what its user can: git's own files, and the clone's.
            lines = "\n".join(
                f"git config {where} url.{evil}/.insteadOf {good}/; git config {where} http.proxy {evil}"
                for where in ("--global", "--local")
            )
            poison = (
                f"export GIT_CONFIG_GLOBAL={agent.home}/.gitconfig\n{lines}\ngit remote set-url origin {evil}/app.git"
            )
            assert outcome(run(server, place.job(f"{poison}\necho done", url), "poisons"))[0] == "0"
            assert evil in (agent.home / ".gitconfig").read_text("utf-8")
            asked.clear()
            after = run(server, place.job("./run", url), "after")
            assert outcome(after) == ("0", "", "") and "\ngood" in after.text, after.text
            assert set(asked) == {"good"}
            # Another spelling of the same address is another address: refused, and nobody is asked.
            asked.clear()
            port = good.rpartition(":")[2]
            for number, variant in enumerate(
                (f"{good}/app", f"{good}/app.git/", f"http://localhost:{port}/app.git", f"http://x@127.0.0.1:{port}/app.git",
                 f"HTTP://127.0.0.1:{port}/app.git", f"{evil}/app.git", f"{good}//app.git")
            ):  # fmt: skip
                raw: dict[str, Any] = place.job("./run", url)
                raw["env"]["BUILDKITE_REPO"] = variant
                refused = run(server, raw, f"variant-{number}")
                assert refused.finish is not None and refused.finish.get("refusal"), (variant, refused.text)
            assert asked == []


# --- D16: SSH hosts -----------------------------------------------------------------------------------------------


@contextmanager
def ssh_server(folder: Path) -> Iterator[tuple[int, str]]:
    """A real sshd on this machine; its port, and its line in `known_hosts`. `folder/client` may log in."""
    folder.mkdir(mode=0o700)
    for name in ("host", "client"):
        words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        subprocess.run(words, check=True)
    (folder / "authorized_keys").write_text((folder / "client.pub").read_text("utf-8"), "utf-8")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/authorized_keys\n"
        f"PidFile none\nUsePAM no\nStrictModes no\nPermitRootLogin yes\nPasswordAuthentication no\n",
        "utf-8",
    )
    Path("/run/sshd").mkdir(exist_ok=True)
    program = find_peer("sshd").path
    assert program is not None
    process = subprocess.Popen([program, "-D", "-e", "-f", folder / "config"], stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while True:
            assert process.poll() is None and time.monotonic() < deadline, "sshd did not start"
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.05)
        key = " ".join((folder / "host.pub").read_text("utf-8").split()[:2])
        yield port, f"[127.0.0.1]:{port} {key}\n"
    finally:
        process.terminate()
        process.wait(10)


@pytest.mark.peer("sshd")
@pytest.mark.skipif(os.geteuid() != 0, reason="sshd needs root to start sessions here")
def test_ssh_hosts_are_believed_only_when_the_operator_knows_their_key(server: FakeServer, tmp_path: Path) -> None:
    repository = tmp_path / "widgets"
    make_repository(repository, {"run": "echo good\n"})
    with ssh_server(tmp_path / "ssh") as (port, line):
        known = tmp_path / "known_hosts"
        config = tmp_path / "gitconfig"
        ssh = f"ssh -F /dev/null -i {tmp_path}/ssh/client -o UserKnownHostsFile={known}"
        config.write_text(f"[core]\n\tsshCommand = {ssh}\n", "utf-8")
        url = f"ssh://root@127.0.0.1:{port}{repository}"
        flags = ("--git-config-file", str(config), "--checkout-attempts", "1")
        raw = unsigned("./run", repository=url)
        raw["env"]["BUILDKITE_CLEAN_CHECKOUT"] = "true"
        with agent_process(server, tmp_path, *OPEN, *flags):
            known.write_text(line, "utf-8")
            honest = run(server, raw, "honest")
            assert outcome(honest) == ("0", "", "") and "\ngood" in honest.text, honest.text
            other = (tmp_path / "ssh" / "client.pub").read_text("utf-8").split()[1]
            for job_id, text in (("unknown", ""), ("another", f"[127.0.0.1]:{port} ssh-ed25519 {other}\n")):
                known.write_text(text, "utf-8")
                refused = run(server, raw, job_id)
                assert outcome(refused)[0] != "0" and "\ngood" not in refused.text, refused.text
                assert "Host key verification failed" in refused.text
                assert known.read_text("utf-8") == text, "nothing was learnt from whoever answered"


# --- D17: files of a checkout that is used again ------------------------------------------------------------------

FORGE = """\
import hashlib, os, struct
status = os.stat("run")
index = bytearray(open(".git/index", "rb").read())
times = (int(status.st_ctime), status.st_ctime_ns % 10**9, int(status.st_mtime), status.st_mtime_ns % 10**9)
struct.pack_into(">IIIIII", index, 12, *times, status.st_dev & 0xFFFFFFFF, status.st_ino & 0xFFFFFFFF)
body = bytes(index[:-20])
open(".git/index", "wb").write(body + hashlib.sha1(body).digest())
"""
PLANTS = {
    "skipped in the index": "git update-index --skip-worktree run; printf 'echo evil\\n' > run",
    "unchanged in the index": "git update-index --assume-unchanged run; printf 'echo evil\\n' > run",
    "forged times": "printf 'echo evil\\n' > run; {python} forge.py; touch -d +1hour .git/index",
    "another object": "{python} plant.py; rm run",
}


@pytest.mark.parametrize("name", PLANTS)
def test_files_that_a_job_changed_are_not_there_for_the_next(server: FakeServer, tmp_path: Path, name: str) -> None:
    repository = tmp_path / "widgets"
    commit = make_repository(repository, {"run": "echo good\n"})
    blob = git(repository, "rev-parse", "HEAD:run")
    url = repository.as_uri()
    (tmp_path / "forge.py").write_text(FORGE, "utf-8")
    body = b"echo evil\n"
    evil = zlib.compress(b"blob %d\0" % len(body) + body)
    (tmp_path / "plant.py").write_text(
        "import glob, os, subprocess\n"
        "for pack in glob.glob('.git/objects/pack/*.pack'):\n"
        "    os.rename(pack, '../moved.pack')\n"
        "    os.remove(pack[:-4] + 'idx')\n"
        "    subprocess.run(['git', 'unpack-objects', '-q'], stdin=open('../moved.pack'), check=True)\n"
        f"path = '.git/objects/{blob[:2]}/{blob[2:]}'\nos.chmod(path, 0o600)\nopen(path, 'wb').write({evil!r})\n",
        "utf-8",
    )
    plant_it = (
        PLANTS[name].replace("forge.py", str(tmp_path / "forge.py")).replace("plant.py", str(tmp_path / "plant.py"))
    )
    with agent_process(server, tmp_path, *OPEN, "--checkout-attempts", "2"):
        raw = unsigned(plant_it.replace("{python}", sys.executable) + "\necho planted", repository=url, commit=commit)
        planted = run(server, raw, "plants")
        assert outcome(planted) == ("0", "", "") and "\nplanted" in planted.text, planted.text
        after = run(server, unsigned("./run", repository=url, commit=commit), "after")
        assert outcome(after) == ("0", "", "") and "\ngood" in after.text, after.text
        assert "\nevil" not in after.text


def test_files_that_nobody_changed_keep_their_times(server: FakeServer, tmp_path: Path) -> None:
    repository = tmp_path / "widgets"
    commit = make_repository(repository, {"run": "echo good\n"})
    with agent_process(server, tmp_path, *OPEN):
        raw = unsigned("touch -d 2020-01-01 run", repository=str(repository), commit=commit)
        assert outcome(run(server, raw, "first"))[0] == "0"
        second = run(server, unsigned("stat -c %y run", repository=str(repository), commit=commit), "second")
        assert "\n2020-01-01" in second.text, second.text
