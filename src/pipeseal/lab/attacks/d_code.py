"""Group D: other code than was meant: other commits, refs, repositories, submodules, large files and plugins."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pipeseal.lab import lies
from pipeseal.lab.attacks.b_job_and_step import FORBIDDEN
from pipeseal.lab.honest import KINDS
from pipeseal.lab.scenario import Attempt, Scenario, Stops
from pipeseal.lab.ssh_stranger import SshStranger
from pipeseal.lab.stage import make_repository, run_git

if TYPE_CHECKING:
    from pipeseal.lab.drill import Drill
    from pipeseal.lab.ground import Ground

_CP = ("CP",)
_PR = ("CP", "PR")
VALUE, SIGNED, NOT_FULL = "environment.value", "signature.mismatch", "commit.not_full"


def _env(job: str = "sealed", *codes: str, **env: str | None) -> Attempt:
    name = next(iter(env))
    return Attempt(lies.set_env(**env), f"{name}={str(env[name])[:30]!r}, {job}", job=job, codes=codes)


def _other_commit(drill: Drill) -> None:
    """Honestly sealed for a commit that is not on the branch it names: the agent asks the remote itself."""
    drill.twin("sealed")
    for what, commit in (
        ("of another branch", drill.ground.release_commit),
        ("of a fork", drill.ground.loose_commit),
    ):
        record = drill.send(drill.honest(replace(KINDS["sealed"], commit=commit)))
        drill.must_refuse(record, ("commit.not_on_branch",), Stops.AT_CHECKOUT, what)


def _fork(drill: Drill) -> None:
    """Honestly sealed for a pull request of a fork, in a class of builds that takes none."""
    drill.twin("sealed")
    facts = {"pull_request": "7", "branch": "main"}
    for branch in ("main", "fork:main"):
        kind = replace(KINDS["sealed"], commit=drill.ground.loose_commit, facts={**facts, "branch": branch})
        drill.must_refuse(drill.send(drill.honest(kind)), ("branch.not_allowed", "environment.value"), what=branch)


def _named_like_the_commit(drill: Drill) -> None:
    """The remote has a branch whose name is the pinned commit's id, and that is at the attacker's commit."""
    work, commit = drill.ground.work, drill.ground.commit
    twin = drill.twin("sealed")
    refs = [f"refs/heads/{commit}", f"refs/tags/{commit}", f"refs/heads/{commit[:12]}"]
    for ref in refs:
        run_git(work, "update-ref", ref, drill.ground.loose_commit)
    try:
        for kind in ("sealed", "reference"):
            drill.attempts += 1
            again = drill.must_run(drill.send(drill.honest(kind)), kind, "with such a branch")
            drill.must(again.commit == twin.commit, "another commit was checked out")
    finally:
        for ref in refs:
            run_git(work, "update-ref", "-d", ref)


def _poisoned_mirror(drill: Drill) -> None:
    """A mirror whose branches somebody has moved: what is checked out is the commit that was sealed."""
    name = "mirrored"
    mirrors = drill.agent_folder(name) / "mirrors"
    drill.start_agent(name, {"git-mirrors-path": str(mirrors)})
    honest = drill.must_run(drill.send(drill.honest("sealed", name), name), what="before")
    (mirror,) = [path for path in mirrors.iterdir() if (path / "HEAD").exists()]
    run_git(mirror, "fetch", "--quiet", str(drill.ground.work), drill.ground.loose_commit)
    for ref in ("refs/heads/main", f"refs/heads/{drill.ground.commit}", "refs/replace/" + drill.ground.commit):
        run_git(mirror, "update-ref", ref, drill.ground.loose_commit)
    drill.attempts += 1
    again = drill.must_run(drill.send(drill.honest("sealed", name), name), what="with a poisoned mirror")
    drill.must(
        (again.commit, again.files, again.ran) == (honest.commit, honest.files, honest.ran),
        "what was checked out came from the poisoned mirror",
        "the sealed commit was checked out",
    )
    drill.stop_agent(name)


def _submodules(drill: Drill) -> None:
    """A commit whose submodules are elsewhere: nobody goes there."""
    work = drill.ground.work
    drill.twin("sealed")
    place = drill.trap.url.partition("//")[2]
    elsewhere = [f"{scheme}://{place}/x.git" for scheme in ("http", "git", "https", "ssh")]
    for url in (
        *elsewhere,
        str(drill.ground.lookalike),
        drill.ground.lookalike.as_uri(),
        f"ext::{drill.ground.evil}",
        "-u/x",
        f"../../{drill.ground.evil}",
    ):
        run_git(work, "checkout", "--quiet", "--detach", "main")
        lookalike = run_git(drill.ground.lookalike, "rev-parse", "HEAD")
        (work / ".gitmodules").write_text(f'[submodule "x"]\n\tpath = x\n\turl = {url}\n', encoding="utf-8")
        run_git(work, "add", ".gitmodules")
        run_git(work, "update-index", "--add", "--cacheinfo", f"160000,{lookalike},x")
        run_git(work, "commit", "--quiet", "--message=With a submodule")
        commit = run_git(work, "rev-parse", "HEAD")
        run_git(work, "checkout", "--quiet", "--force", "main")
        run_git(work, "update-ref", "refs/heads/main", commit)
        try:
            record = drill.send(drill.honest(replace(KINDS["sealed"], commit=commit)))
        finally:
            run_git(work, "update-ref", "refs/heads/main", drill.ground.commit)
            run_git(work, "reset", "--quiet", "--hard", drill.ground.commit)
        if url in elsewhere:
            drill.must_refuse(record, ("submodule.host",), Stops.AT_CHECKOUT, url)
        else:
            drill.attempts += 1
        ran = drill.ground.ran(record.id)
        drill.must("command" not in ran and "attack" not in ran, f"{url}: the job ran: {', '.join(ran)}")
        drill.must((record.finish or {}).get("exit_status") != "0", f"{url}: the job passed")
        drill.must(not drill.trap.touched, f"{url}: git went there", "nobody went there, and no command ran")
    drill.twin("sealed", again=True)


def _large_files(drill: Drill) -> None:
    """Files of git LFS: not fetched unless that was sealed, and then only what the pointer says."""
    work = drill.ground.repositories / "large"
    true = b"the true bytes of a large file\n"
    from hashlib import sha256

    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256(true).hexdigest()}\nsize {len(true)}\n"
    script = (drill.ground.work / "scripts" / "test").read_text(encoding="utf-8")
    commit = make_repository(
        work,
        {
            "scripts/test": script,
            ".gitattributes": "*.bin filter=lfs diff=lfs merge=lfs -text\n",
            ".lfsconfig": f"[lfs]\n\turl = {drill.trap.url}/lfs\n",
            "large.bin": pointer,
        },
    )
    name = "large-files"
    policy = drill.ground.policy() + f'\n[[allow]]\nrepository = "{work}"\n'
    drill.start_agent(name, policy_text=policy)
    kind = replace(KINDS["reference"], facts={"repository": str(work)}, commit=commit)
    execution = drill.must_run(drill.send(drill.honest(kind, name), name), what="without LFS")
    drill.attempts += 1
    there = (Path(execution.directory) / "large.bin").read_text(encoding="utf-8")
    drill.must(there == pointer, "a large file was fetched although nobody asked for it", "no large file was fetched")
    drill.must(not drill.trap.touched, "the LFS server of .lfsconfig was asked")
    drill.stop_agent(name)


def _unknown_host(drill: Drill) -> None:
    """An SSH server whose key nobody knows: it is refused, and never learnt."""
    name, host = "strangers", SshStranger()
    try:
        url = f"ssh://nobody@127.0.0.1:{host.port}{drill.ground.work}"
        policy = drill.ground.policy() + f'\n[[allow]]\nrepository = "{url}"\n'
        drill.start_agent(name, policy_text=policy)
        kind = replace(KINDS["reference"], facts={"repository": url})
        record = drill.send(drill.honest(kind, name), name)
        drill.attempts += 1
        drill.must(host.shown > 0, f"the SSH server was not asked at all: {record.log[-300:]}")
        drill.must(host.accepted == 0, "a key that nobody knows was accepted", "its key was not accepted")
        drill.must("command" not in drill.ground.ran(record.id), "the job ran from a host that nobody knows")
        drill.must((record.finish or {}).get("exit_status") != "0", "the job passed")
        drill.must("Host key verification failed" in record.log, f"it failed otherwise: {record.log[-300:]}")
        again = drill.send(drill.honest(kind, name), name)
        drill.must("Host key verification failed" in again.log, "the host's key was learnt", "nor learnt")
    finally:
        host.close()
    drill.stop_agent(name)


def _left_behind(drill: Drill) -> None:
    """What an earlier job leaves in the checkout: hooks, configuration, files; the next job runs none of it."""
    twin = drill.twin("sealed", again=True)
    checkout = Path(twin.directory)
    git, evil = checkout / ".git", drill.ground.evil
    for name in ("post-checkout", "post-index-change", "reference-transaction", "pre-auto-gc", "post-merge"):
        hook = git / "hooks" / name
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(f"#!/bin/sh\n{evil}\n", encoding="utf-8")
        hook.chmod(0o755)
    settings = {
        "core.fsmonitor": str(evil),
        "core.hooksPath": str(drill.ground.evil_hooks),
        "core.sshCommand": str(evil),
        "core.pager": str(evil),
        "filter.x.smudge": str(evil),
        "filter.x.process": str(evil),
        "uploadpack.packObjectsHook": str(evil),
        "remote.origin.uploadpack": str(evil),
        "diff.external": str(evil),
        f"url.{drill.ground.lookalike}.insteadOf": drill.ground.repository,
    }
    for name, value in settings.items():
        run_git(checkout, "config", name, value)
    (git / "info").mkdir(exist_ok=True)
    (git / "info" / "attributes").write_text("* filter=x\n", encoding="utf-8")
    (git / "objects" / "info").mkdir(exist_ok=True)
    (git / "objects" / "info" / "alternates").write_text(f"{drill.ground.lookalike}/.git/objects\n", encoding="utf-8")
    hooks = checkout / ".buildkite" / "hooks"
    hooks.mkdir(parents=True)
    for name in ("post-checkout", "pre-command", "pre-exit", "command"):
        (hooks / name).write_text(f"#!/bin/sh\n{evil}\n", encoding="utf-8")
        (hooks / name).chmod(0o755)
    (checkout / "scripts" / "test").write_text(f"#!/bin/sh\n{evil}\n", encoding="utf-8")
    (checkout / "scripts" / "test").chmod(0o755)
    drill.attempts += len(settings) + 11
    drill.must_run(drill.send(drill.honest("sealed")), "sealed", "after a job that left things behind")


def _another_tree(drill: Drill) -> None:
    """The commit's id is right and its tree is not what was sealed; and the same of a plugin."""
    drill.twin("sealed")
    other = run_git(drill.ground.lookalike, "rev-parse", "HEAD^{tree}")
    record = drill.send(drill.honest(replace(KINDS["sealed"], tree=other)))
    drill.must_refuse(record, ("checkout.differs",), Stops.AT_CHECKOUT, "the repository")
    commit, tree = drill.ground.plugin_commit, drill.ground.plugin_tree
    try:
        for what, pinned in (("a plugin's tree", (commit, other)), ("a plugin's commit", ("0" * 39 + "1", tree))):
            drill.ground.plugin_commit, drill.ground.plugin_tree = pinned
            record = drill.send(drill.honest("sealed"))
            drill.must_refuse(record, ("plugin.differs",), Stops.AT_CHECKOUT, what)
    finally:
        drill.ground.plugin_commit, drill.ground.plugin_tree = commit, tree
    # A tag that was moved after the sealing changes nothing.
    plugin = drill.ground.plugin_repository
    (plugin / "hooks" / "pre-command").write_text(f"#!/bin/sh\n{drill.ground.evil}\n", encoding="utf-8")
    run_git(plugin, "commit", "--quiet", "--all", "--message=Evil")
    run_git(plugin, "tag", "--force", "v1.0.0")
    try:
        drill.attempts += 1
        drill.must_run(drill.send(drill.honest("sealed")), "sealed", "with a moved tag")
    finally:
        run_git(plugin, "reset", "--quiet", "--hard", commit)
        run_git(plugin, "tag", "--force", "v1.0.0", commit)


def _user_configuration(drill: Drill) -> None:
    """The user's own git configuration leads the repository elsewhere; the agent's git does not read it."""
    text = (drill.ground.home / ".gitconfig").read_text(encoding="utf-8")
    drill.ground.watch.touched()  # that was us
    drill.must("insteadOf" in text, "the home has no such configuration")
    drill.attempts += 1
    drill.twin("sealed", again=True)
    drill.must(True, "", "the repository itself was asked")


def _urls(ground: Ground) -> list[Attempt]:
    honest = ground.repository
    variants = (
        f"{honest}/", f"{honest}.git", f"file://{honest}", honest.upper(), f"{honest}/.", f"/{honest}",
        f"x@y:{honest}",
        honest.replace("e", "\u0435"), f"{honest}#x", f"{honest}?x", f"--upload-pack={ground.evil}",
        f"ext::{ground.evil}", f"{honest} ",
    )  # fmt: skip
    return [
        Attempt(lies.set_env(BUILDKITE_REPO=url), url[-20:], job=job)
        for url in variants
        if url != honest
        for job in ("sealed", "reference")
    ]


SCENARIOS = (
    Scenario(
        id="D01",
        title="Another commit of the repository",
        actors=("CP", "UI"),
        change="`BUILDKITE_COMMIT`; or an honest upload at a commit of no protected branch",
        happens="the step is bound to its commit, and the agent asks the remote whether that is on an allowed branch",
        codes=(SIGNED, "commit.not_on_branch"),
        setting="`branches`",
        attempts=lambda ground: [
            _env(job, SIGNED, BUILDKITE_COMMIT=commit)
            for job in ("sealed", "bound")
            for commit in ("0" * 40, ground.loose_commit, ground.release_commit)
        ],
        play=_other_commit,
    ),
    Scenario(
        id="D02",
        title="Head of a fork's pull request",
        actors=_PR,
        change="`BUILDKITE_PULL_REQUEST`, and a commit that only `refs/pull/7/head` has",
        happens="the step is bound to its pull request; where branches are asked for, pull requests are not built",
        codes=(SIGNED, "branch.not_allowed", VALUE),
        setting="`branches`, `pull-requests`",
        attempts=lambda ground: [
            _env("sealed", SIGNED, BUILDKITE_PULL_REQUEST="7", BUILDKITE_COMMIT=ground.loose_commit),
            _env("bound", SIGNED, BUILDKITE_PULL_REQUEST="7", BUILDKITE_PIPELINE_PROVIDER="github"),
            _env("reference", VALUE, BUILDKITE_PULL_REQUEST="../../x"),
            _env("reference", VALUE, BUILDKITE_PULL_REQUEST="7/head:x"),
        ],
        play=_fork,
    ),
    Scenario(
        id="D03",
        title="A merge that was made elsewhere",
        actors=_CP,
        change="`BUILDKITE_PULL_REQUEST_USING_MERGE_REFSPEC`",
        happens="only commits that somebody has named",
        codes=(VALUE,),
        attempts=lambda _ground: [
            _env(job, BUILDKITE_PULL_REQUEST_USING_MERGE_REFSPEC="true") for job in ("sealed", "reference")
        ],
    ),
    Scenario(
        id="D04",
        title="A refspec",
        actors=_CP,
        change="`BUILDKITE_REFSPEC`",
        happens="the agent makes the refspec itself, from the commit",
        codes=(FORBIDDEN,),
        attempts=lambda _ground: [
            _env(job, BUILDKITE_REFSPEC="refs/heads/x:refs/heads/main +refs/*:refs/*")
            for job in ("sealed", "reference")
        ],
    ),
    Scenario(
        id="D05",
        title="A branch that is called like the commit",
        actors=_CP,
        change="a branch and a tag of the remote, whose names are the pinned commit's id",
        happens="ignored: an id means the commit, and `HEAD` and tree are compared afterwards",
        codes=(FORBIDDEN,),
        attempts=lambda ground: [_env("sealed", BUILDKITE_REFSPEC=f"refs/heads/x:refs/heads/{ground.commit}")],
        play=_named_like_the_commit,
    ),
    Scenario(
        id="D06",
        title="A tag in place of a commit",
        actors=_CP,
        change="`BUILDKITE_TAG=v1`, `BUILDKITE_COMMIT=v1`",
        happens="the step is bound to both; a commit is a full object id",
        codes=(SIGNED, VALUE, NOT_FULL),
        attempts=lambda _ground: [
            _env("sealed", SIGNED, BUILDKITE_TAG="v1"),
            _env("sealed", SIGNED, BUILDKITE_TAG="v1", BUILDKITE_COMMIT="v1"),
            _env("reference", VALUE, NOT_FULL, BUILDKITE_TAG="v1", BUILDKITE_COMMIT="v1"),
        ],
    ),
    Scenario(
        id="D07",
        title="`HEAD` in place of a commit",
        actors=_CP,
        change="`BUILDKITE_COMMIT=HEAD`",
        happens="the step is bound to its commit; where it is not, the policy can ask for full ids",
        codes=(SIGNED, NOT_FULL),
        setting="`head-commits = false`",
        attempts=lambda _ground: [
            _env("sealed", SIGNED, BUILDKITE_COMMIT="HEAD"),
            _env("bound", SIGNED, BUILDKITE_COMMIT="HEAD"),
            _env("reference", NOT_FULL, BUILDKITE_COMMIT="HEAD"),
            _env("reference", NOT_FULL, BUILDKITE_COMMIT=None),
        ],
    ),
    Scenario(
        id="D08",
        title="The name of a branch or a file in place of a commit",
        actors=_CP,
        change="`BUILDKITE_COMMIT=main`, `=README.md`",
        happens="a commit is a full object id",
        codes=(SIGNED, VALUE, NOT_FULL),
        attempts=lambda _ground: [
            _env(job, BUILDKITE_COMMIT=name) for name in ("main", "README.md") for job in ("sealed", "reference")
        ],
    ),
    Scenario(
        id="D09",
        title="A shortened commit",
        actors=_CP,
        change="`BUILDKITE_COMMIT=abc123`",
        happens="a commit is a full object id",
        codes=(SIGNED, VALUE, NOT_FULL),
        attempts=lambda ground: [
            _env(job, BUILDKITE_COMMIT=name)
            for name in ("abc123", ground.commit[:39])
            for job in ("sealed", "reference")
        ],
    ),
    Scenario(
        id="D10",
        title="A mirror of the server's choice",
        actors=_CP,
        change="`BUILDKITE_GIT_REMOTE_MIRROR_URL`",
        happens="mirrors are the operator's",
        codes=(VALUE,),
        attempts=lambda ground: [
            _env(job, BUILDKITE_GIT_REMOTE_MIRROR_URL=str(ground.lookalike)) for job in ("sealed", "reference")
        ],
    ),
    Scenario(
        id="D11",
        title="A mirror of this machine, poisoned",
        actors=_CP,
        change="refs and replacements in a mirror that jobs share",
        happens="objects are read by the id that was sealed, and nothing stands in for them",
        setting="`git-mirrors-path`",
        play=_poisoned_mirror,
    ),
    Scenario(
        id="D12",
        title="Submodules from elsewhere",
        actors=_PR,
        change="`.gitmodules`: other hosts, plain HTTP and git, paths, files, programs, options",
        happens="submodules come from the repository's host or where the policy says, over https and ssh alone",
        codes=("submodule.host",),
        setting="`submodules`, `no-git-submodules`, `git-protocols`",
        play=_submodules,
    ),
    Scenario(
        id="D13",
        title="Large files from elsewhere",
        actors=("CP", "MITM"),
        change="an LFS server that `.lfsconfig` names",
        happens="large files are fetched only where that was sealed or the operator says so",
        setting="`checkout.lfs` of the step",
        play=_large_files,
    ),
    Scenario(
        id="D14",
        title="The repository's address in other spelling",
        actors=_CP,
        change="`BUILDKITE_REPO`: `.git`, slashes, schemes, users, look-alike letters, options",
        happens="addresses are compared byte for byte",
        codes=(SIGNED,),
        attempts=_urls,
    ),
    Scenario(
        id="D15",
        title="The same address, leading elsewhere",
        actors=("CP", "RUN"),
        change="`url.<other>.insteadOf` through variables, `HOME` and the user's own configuration",
        happens="git reads no configuration but the operator's",
        codes=(FORBIDDEN,),
        setting="`git-config-file`",
        attempts=lambda ground: [
            _env(
                GIT_CONFIG_COUNT="1",
                GIT_CONFIG_KEY_0=f"url.{ground.lookalike}.insteadOf",
                GIT_CONFIG_VALUE_0=ground.repository,
            ),
            _env(HOME=str(ground.outside)),
        ],
        play=_user_configuration,
    ),
    Scenario(
        id="D16",
        title="An SSH server that nobody knows",
        actors=("MITM",),
        change="the host key of the repository's server",
        happens="host keys are the machine's own, and none is learnt",
        setting="`ssh-keyscan`",
        play=_unknown_host,
    ),
    Scenario(
        id="D17",
        title="Left behind in a checkout",
        actors=("PR",),
        change="hooks, configuration, attributes and files in a checkout that is used again",
        happens="a clone's configuration is written anew, its hooks are off, and its files are those of the commit",
        play=_left_behind,
    ),
    Scenario(
        id="D18",
        title="One commit id, two trees",
        actors=_PR,
        change="a tree other than the one that was sealed, of the repository or of a plugin; a tag that was moved",
        happens="trees are sealed and compared after the checkout; a plugin is its sealed commit",
        codes=("checkout.differs", "plugin.differs"),
        setting='`proof = "seal"`',
        play=_another_tree,
    ),
)
