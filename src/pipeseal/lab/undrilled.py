"""Attacks of the catalogue that the drill does not try: about what happened, and about what jobs fetch and hand on.

Most of them are lies about what a step did, and need signed receipts, signed approvals or a log that cannot be
rewritten, none of which is in this release. Each row says what comes of it today, what limits it, and what to do
meanwhile. A row that other parts of the product refuse has its codes, and a test that shows it there.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

# Letter of a group that the drill has nothing of, to what it is about.
GROUPS = {
    "H": "what ran, in which order, and how it ended",
    "I": "what jobs fetch and hand on",
}


class Standing(Enum):
    """What comes of an attack today."""

    REFUSED = "refused"
    LIMITED = "succeeds in part"
    OPEN = "succeeds"


@dataclass(frozen=True, slots=True, kw_only=True)
class Undrilled:
    """One attack that the drill does not try.

    Parameters:
        id, title, actors, change: as in `Scenario`.
        standing: whether it succeeds.
        happens: what comes of it today.
        limits: what it cannot do all the same.
        meanwhile: what to do about it.
        codes: of the refusal, where there is one.
    """

    id: str
    title: str
    actors: tuple[str, ...]
    change: str
    standing: Standing
    happens: str
    limits: str
    meanwhile: str
    codes: tuple[str, ...] = ()

    @property
    def group(self) -> str:
        """The letter of its group."""
        return self.id[0]


_CP = ("CP",)
_REFUSED, _LIMITED, _OPEN = Standing.REFUSED, Standing.LIMITED, Standing.OPEN

_WORKFLOW = (
    Undrilled(
        id="H01",
        title="A step is left out",
        actors=_CP,
        change="a scan or a test is never handed to an agent, and what should follow it is",
        standing=_OPEN,
        happens="the later step runs: it is signed, and no agent asks whether another one ran before it",
        limits="what runs is still only what was signed, for this build and commit; nothing is put in the place of "
        "what was left out",
        meanwhile="do the check and what depends on it in one step, or have the later step ask a system of yours "
        "whether the check passed",
    ),
    Undrilled(
        id="H02",
        title="Order and dependencies ignored",
        actors=_CP,
        change="`wait` and `depends_on`: steps start before those that they wait for have ended",
        standing=_OPEN,
        happens="the step runs early; its seal says what it depends on, and agents do not hold it against anything "
        "yet",
        limits="each step runs as sealed, and no more often than it may",
        meanwhile="as for a step that is left out; and write deployments so that they fail without what earlier "
        "steps make",
    ),
    Undrilled(
        id="H03",
        title="An approval that nobody gave",
        actors=("CP", "UI"),
        change="a `block` step is let pass, and `BUILDKITE_UNBLOCKER` names somebody",
        standing=_OPEN,
        happens="the steps behind it run: an approval is the control plane's word",
        limits="who unblocked reaches jobs as a file and an id, never as text in a command, and no policy asks for "
        "it; with `branches` and `commit-signers` the commit itself has to be approved where it was merged",
        meanwhile="let merging be the approval: deploy from a branch or tag that a review protects, with `branches` "
        "and `commit-signers` on the agents that deploy",
    ),
    Undrilled(
        id="H04",
        title="Branch filters and conditions ignored",
        actors=_CP,
        change="a step with `branches` or `if` is started where these say no",
        standing=_LIMITED,
        happens="the step runs if its commit may: conditions are the control plane's to judge. A policy with "
        "`branches` refuses commits that are not on them, asking the remote itself",
        limits="a step is signed for one build, commit and branch, so it starts nowhere else",
        meanwhile="put `branches` into the policy of the agents that deploy; have the script test what the "
        "condition says, on the variables that the seal covers",
        codes=("branch.not_allowed", "commit.not_on_branch"),
    ),
    Undrilled(
        id="H05",
        title="A failure is turned into a success",
        actors=_CP,
        change="the state, exit status or soft failure that the server keeps of a job",
        standing=_OPEN,
        happens="pages and later steps see a success: an exit status is sent to the server, and not signed",
        limits="the agent's own log and its metrics have what really happened",
        meanwhile="let nothing that matters hang on the state alone: one step for check and deployment, and alerts "
        "from the agents' own `/metrics`",
    ),
    Undrilled(
        id="H06",
        title="A success without anything run",
        actors=_CP,
        change="a job is marked as passed that no agent had",
        standing=_OPEN,
        happens="as above: nobody has signed that it ran",
        limits="an agent that gets a job runs all phases that the seal and its own settings say; which ones cannot "
        "be chosen by the server",
        meanwhile="as above; the agents' decision logs name every job that they ran",
    ),
    Undrilled(
        id="H07",
        title="Two of a concurrency group at once",
        actors=_CP,
        change="steps of one group are handed out at the same time",
        standing=_LIMITED,
        happens="steps of different builds run beside each other: agents count starts and share no lock between "
        "builds. A step with `concurrency: 1` starts once in its build, whatever the server does",
        limits="the ledger, when all agents that may take the step share one",
        meanwhile="take a lock where the deployment happens (most tools for infrastructure have one), or "
        "`buildkite-agent lock` if one machine deploys",
        codes=("ledger.exclusive",),
    ),
    Undrilled(
        id="H08",
        title="Cancelled at the worst moment",
        actors=_CP,
        change="the answer to whether a job goes on: cancelled, timed out, or unknown",
        standing=_OPEN,
        happens="the agent ends the job: `cancel-signal`, then SIGKILL after `cancel-grace-period`",
        limits="`post-command` and `pre-exit` hooks have the rest of that time; the server cannot make it shorter "
        "than the agent's setting",
        meanwhile="make the grace period long enough on agents that deploy, handle SIGTERM in scripts that must not "
        "stop half-way, and write them so that they can be run again",
    ),
    Undrilled(
        id="H09",
        title="Builds triggered with values of somebody's choice",
        actors=("CP", "UI"),
        change="environment, branch and commit of a build that a trigger step or a person makes",
        standing=_LIMITED,
        happens="a build of another pipeline starts: its upload step is static, and runs at any commit that the "
        "policy allows. Variables that nobody signed refuse its jobs, by name",
        limits="the steps of that build are signed by its own uploader, from that commit's file; `static-starts` "
        "limits how often",
        meanwhile="`branches` and `static-starts` in the policy; pass parameters in files of the repository, not in "
        "the build's environment",
        codes=("environment.unknown", "proof.static"),
    ),
    Undrilled(
        id="H10",
        title="Parameters from forms and meta-data",
        actors=("CP", "UI"),
        change="answers to an `input` step, which jobs read as meta-data",
        standing=_LIMITED,
        happens="the script gets whatever the server says. With a signer no such value is expanded into a command "
        "when steps are uploaded",
        limits="it is data for the script, and not a command, unless the script makes it one",
        meanwhile="check in the script that a value is one of a list in the repository; quote it; never `eval` it",
        codes=("signer.taint",),
    ),
    Undrilled(
        id="H11",
        title="An upload is acknowledged and thrown away",
        actors=_CP,
        change="the answer to an upload: applied, and no job is made of its steps",
        standing=_OPEN,
        happens="those steps never run, and the build may look complete",
        limits="nothing else runs in their place",
        meanwhile="as for a step that is left out; a system of yours can count what should have come out of a "
        "build, and complain",
    ),
    Undrilled(
        id="H12",
        title="A commit status that is not true",
        actors=_CP,
        change="what the control plane tells the host of the repository, or writes in a mail",
        standing=_OPEN,
        happens="a commit that was never tested looks tested, and may be merged",
        limits="a status moves no code by itself; whoever may merge still decides",
        meanwhile="for what matters, set the status from the job itself, with a credential that only the agents of "
        "that queue have, and require that one for merging",
    ),
    Undrilled(
        id="H13",
        title="Nothing comes at all",
        actors=_CP,
        change="no jobs, paused or disconnected agents, priorities",
        standing=_OPEN,
        happens="nothing runs. No signature helps against silence",
        limits="it can be seen from outside: the agents say when they last heard something and what they ran",
        meanwhile="alert on the agents' `/metrics`: no job of a scheduled pipeline for longer than its schedule",
    ),
)

_DATA = (
    Undrilled(
        id="I01",
        title="Artifacts exchanged",
        actors=_CP,
        change="the bytes of an artifact that a later job downloads",
        standing=_OPEN,
        happens="the later job gets other bytes: nobody has signed what was uploaded",
        limits="paths stay below the destination, and only what was asked for is written",
        meanwhile="build and deploy in one job; or have the job that builds sign its files with a key of your own "
        "vault, and the one that deploys check that before use",
    ),
    Undrilled(
        id="I02",
        title="The checksum exchanged with the bytes",
        actors=_CP,
        change="the announced `sha256sum`, together with the file",
        standing=_OPEN,
        happens="the download agrees with its checksum: both are the server's word, and the command says so",
        limits="it finds damage, not lies",
        meanwhile="as above; or keep artifacts in a store that names things by digest, and take the digest another "
        "way",
    ),
    Undrilled(
        id="I03",
        title="Downloads led elsewhere",
        actors=_CP,
        change="where an artifact is: another host, an address inside your network, a bucket",
        standing=_REFUSED,
        happens="bytes come from the control plane's own host, from public hosts over TLS, and from hosts that you "
        "named; redirects too. Buckets are not read at the server's word",
        limits="a public host may still be one of the attacker's, so what comes from there proves nothing either",
        meanwhile="name hosts inside your network with `artifact-stores`; let agents reach no more of it than they "
        "need",
        codes=("artifact.store", "artifact.destination"),
    ),
    Undrilled(
        id="I04",
        title="Files that nobody asked for",
        actors=_CP,
        change="paths in the answer to a search: a hook, a Makefile",
        standing=_REFUSED,
        happens="paths that the job's own pattern does not match refuse the whole download, before anything is "
        "written",
        limits="a wide pattern such as `**/*` asks for everything",
        meanwhile="download into a folder of its own, with a narrow pattern",
        codes=("artifact.path",),
    ),
    Undrilled(
        id="I05",
        title="Paths that lead out of the destination",
        actors=("CP", "PR"),
        change="`../` and absolute paths in the names of artifacts",
        standing=_REFUSED,
        happens="what leads out is left off or refused, and files are opened below the destination without "
        "following links",
        limits="nothing outside of the destination is touched",
        meanwhile="nothing to do",
        codes=("artifact.path",),
    ),
    Undrilled(
        id="I06",
        title="Links in the destination",
        actors=("PR", "CP"),
        change="a folder of the checkout is a link to another place, and an artifact lies below it",
        standing=_REFUSED,
        happens="a link on the way is refused; one in a file's place is replaced and not followed",
        limits="nothing outside of the destination is touched",
        meanwhile="nothing to do",
        codes=("artifact.symlink",),
    ),
    Undrilled(
        id="I07",
        title="Meta-data changed",
        actors=_CP,
        change="the value that `meta-data get` prints",
        standing=_OPEN,
        happens="the script gets whatever the server says: a version, a tag, a fragment of a command",
        limits="it reaches scripts that ask for it, and no signed command by itself",
        meanwhile="hand values on inside one job, or check them in the script against what they may be",
    ),
    Undrilled(
        id="I08",
        title="Secrets exchanged",
        actors=_CP,
        change="the value of a secret that the control plane keeps",
        standing=_LIMITED,
        happens="the job gets another value: what the server keeps, it can change and read",
        limits="it goes only into a variable that the signed step names, and into none that changes how programs "
        "start or what the agent does; it is hidden in the log",
        meanwhile="keep secrets in a vault or role of the agents' own, fetched by an operator's hook",
        codes=("secret.fetch",),
    ),
    Undrilled(
        id="I09",
        title="Identity tokens made at will",
        actors=_CP,
        change="the claims of OIDC tokens, of which the control plane is the issuer",
        standing=_OPEN,
        happens="whoever owns the issuer can be any job to a cloud that believes it, without any agent",
        limits="only roles that trust this issuer",
        meanwhile="give roles that can deploy to the agents' machines (instance roles, workload identity of your "
        "own), not to the control plane's issuer",
    ),
    Undrilled(
        id="I10",
        title="Claims of a token through variables",
        actors=_CP,
        change="`BUILDKITE_OIDC_TOKEN_CLAIMS` and its kin in the job",
        standing=_REFUSED,
        happens="no server may set these variables; the signed step may",
        limits="a job that asks for a token still gets what the issuer likes to say",
        meanwhile="see above",
        codes=("environment.unknown",),
    ),
    Undrilled(
        id="I11",
        title="A plugin's version that moves",
        actors=("PLG",),
        change="the tag or branch that a pipeline names",
        standing=_LIMITED,
        happens="a plugin that was sealed at a commit is run at that commit, or the job ends. One that was not is "
        "whatever the tag stands for when the agent first needs it",
        limits="`pinned-plugins = true` in the policy refuses plugins without a sealed commit",
        meanwhile="lock plugins (`pipeseal plugins lock`), and set `pinned-plugins`",
        codes=("plugin.differs", "plugin.not_pinned"),
    ),
    Undrilled(
        id="I12",
        title="A plugin's clone that was tampered with",
        actors=("PR", "PLG"),
        change="files of an earlier clone, or another plugin whose folder would be called alike",
        standing=_REFUSED,
        happens="a clone is checked object by object before each use and made again if it is not what it was; one "
        "that this agent did not make is not used",
        limits="a job can spoil a clone, which costs the next one the time to clone",
        meanwhile="nothing to do",
        codes=("plugin.differs",),
    ),
    Undrilled(
        id="I13",
        title="A plugin that is an archive without a digest",
        actors=("PLG", "MITM"),
        change="an address of an archive in the place of a repository",
        standing=_REFUSED,
        happens="plugins are git repositories here; git is given the transports of `git-protocols` and no others, "
        "so the plugin cannot be had, and the job ends before any hook of it",
        limits="none is needed",
        meanwhile="put such plugins into a repository, and lock them",
    ),
    Undrilled(
        id="I14",
        title="Caches shared by jobs that must not trust each other",
        actors=("PR",),
        change="what one job leaves on the machine: mirrors, clones, layers of images, temporary files",
        standing=_LIMITED,
        happens="checkouts, mirrors and plugins are checked before they are used again. What tools keep elsewhere "
        "for the same user is theirs, and not looked at",
        limits="jobs of one agent share a user, not a checkout that is believed",
        meanwhile="agents of their own, with users or machines of their own, for code of strangers",
        codes=("checkout.damaged",),
    ),
    Undrilled(
        id="I15",
        title="A cache of the server's choice",
        actors=_CP,
        change="what a cache holds, and where it is",
        standing=_REFUSED,
        happens="agents fetch no caches at the server's word: `cache` of a step is sealed and nothing is restored "
        "by it",
        limits="a plugin that restores caches from a store of yours is as good as that store",
        meanwhile="use such a plugin with a store that only trusted branches can write to",
    ),
    Undrilled(
        id="I16",
        title="Other cache paths than were signed",
        actors=_CP,
        change="`cache` of the step",
        standing=_REFUSED,
        happens="the seal holds it, and a job that says something else is refused",
        limits="a signature without a seal does not cover it; then nothing is done with it",
        meanwhile='`proof = "seal"` in the policy',
        codes=("seal.differs",),
    ),
    Undrilled(
        id="I17",
        title="Scripts that ask the server how things stand",
        actors=_CP,
        change="answers to `step get`, `meta-data exists`, and states of builds",
        standing=_OPEN,
        happens="the script decides on what the server says",
        limits="it chooses among what the script already does",
        meanwhile="let scripts decide on the commit, on files and on systems of yours",
    ),
    Undrilled(
        id="I18",
        title="An image whose tag moves",
        actors=("MITM", "PLG"),
        change="what a registry gives for `image: name:tag` of a plugin's configuration",
        standing=_OPEN,
        happens="the configuration is signed as it is written: a tag stays a tag, and stands for what the registry "
        "says",
        limits="the name itself cannot be changed without a refusal",
        meanwhile="write images with their digest (`name@sha256:...`)",
    ),
    Undrilled(
        id="I19",
        title="Credentials for the repository from the server",
        actors=_CP,
        change="a token that the server offers for cloning",
        standing=_REFUSED,
        happens="agents never ask for one, and do not pass on a job's own question; git uses credentials of the "
        "machine alone",
        limits="none is needed",
        meanwhile="keep deploy keys on the agents (`git-config-file`)",
        codes=("broker.call",),
    ),
)

_OUTPUTS = (
    Undrilled(
        id="K06",
        title="A log that is changed afterwards",
        actors=_CP,
        change="the log as the server keeps it",
        standing=_OPEN,
        happens="pages show the changed log: no log is signed yet",
        limits="refusals are in the agents' own logs and decision logs as well",
        meanwhile="keep a copy where the server cannot reach it: `enable-job-log-tmpfile`, and a `pre-exit` hook of "
        "the operator that stores `BUILDKITE_JOB_LOG_TMPFILE`",
    ),
    Undrilled(
        id="K07",
        title="A job that prints that it was verified",
        actors=("PR",),
        change="lines of a log that look like the agent's own",
        standing=_LIMITED,
        happens="the line is in the log, where the agent's own lines are too",
        limits="on pages nothing in a log can draw outside of it: how a step stands is said above it, from what the "
        "browser checked",
        meanwhile="believe the Trust tab or `pipeseal verify`, never a line of a log",
    ),
    Undrilled(
        id="K09",
        title="Provenance that the server wrote",
        actors=_CP,
        change="a statement about how an artifact came to be",
        standing=_OPEN,
        happens="agents sign no such statement yet, so there is none that could be told from a forged one",
        limits="a consumer that asks for a signature of yours refuses it",
        meanwhile="sign releases in the job, with a key that only the agents of that queue can use, and have "
        "consumers ask for it",
    ),
    Undrilled(
        id="K11",
        title="What registering tells",
        actors=_CP,
        change="nothing: it reads host names, systems, paths and messages",
        standing=_LIMITED,
        happens="an agent says its name, host name, system, process id, tags and version; a job the commit's "
        "message and author. Machine ids and paths of artifacts on the machine are not sent",
        limits="every field is listed on the page about what stays with you, and a test holds the list",
        meanwhile="give machines names that say nothing",
    ),
)

UNDRILLED: tuple[Undrilled, ...] = (*_WORKFLOW, *_DATA, *_OUTPUTS)
