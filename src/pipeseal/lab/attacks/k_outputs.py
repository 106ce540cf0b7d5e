"""Group K: what leaves a machine: artifacts, where they go, logs, and how a job ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeseal.lab import lies
from pipeseal.lab.attacks.b_job_and_step import FORBIDDEN, variables
from pipeseal.lab.hostile_server import Answer, Request, answer_json
from pipeseal.lab.scenario import Attempt, Scenario

if TYPE_CHECKING:
    from pipeseal.lab.drill import Drill
    from pipeseal.lab.ground import Ground

_CP = ("CP",)


def _patterns(ground: Ground) -> list[Attempt]:
    outside = (
        f"{ground.home}/.ssh/*",
        "~/.ssh/*",
        "/proc/self/environ",
        f"{ground.outside}/**/*",
        "../../../../outside/*",
        "out/*.txt;/proc/self/environ",
    )
    return [
        *(Attempt(lies.set_env(BUILDKITE_ARTIFACT_PATHS=text), text[-30:]) for text in (*outside, "**/*", "")),
        *(
            Attempt(
                lies.set_env(BUILDKITE_ARTIFACT_PATHS=text),
                f"{text[-30:]}, signed",
                job="bound",
                codes=("environment.value",),
            )
            for text in outside
            if not text.startswith("~")
        ),
    ]


def _nothing_uploaded(drill: Drill) -> None:
    """What was sealed is what was uploaded, and nothing else ever."""
    drill.twin("sealed", again=True)
    uploaded = sorted(drill.server.artifacts)
    drill.must(
        uploaded == ["out/report.txt"], f"uploaded: {', '.join(uploaded)}", "only what was sealed was uploaded"
    )


def _uploads(drill: Drill) -> None:
    drill.server.artifacts.clear()
    _nothing_uploaded(drill)
    _links(drill)


def _links(drill: Drill) -> None:
    """Artifact paths of the server's own word, for a signed job whose checkout has a link that leads out of it."""
    drill.twin("bound")
    drill.server.artifacts.clear()
    job = lies.set_env(BUILDKITE_ARTIFACT_PATHS="linked/*")(drill.honest("bound"))
    drill.must_run(drill.send(job), what="a link out of the checkout")
    drill.attempts += 1
    uploaded = [path for path in drill.server.artifacts if path.startswith("linked")]
    drill.must(not uploaded, f"files outside of the checkout were uploaded: {', '.join(uploaded)}")
    drill.server.artifacts.clear()


def _instructions(drill: Drill) -> None:
    """Upload instructions that lead elsewhere: the job's artifacts stay here."""
    drill.twin("sealed")
    urls = (
        drill.trap.url,
        drill.trap.url.replace("http://", "https://"),
        "http://169.254.169.254",
        "file:///etc/passwd",
        f"http://user@127.0.0.1:{drill.trap.port}",
        f"http://127.0.0.1@127.0.0.2:{drill.trap.port}",
    )
    for url in urls:

        def lead_away(request: Request, url: str = url) -> Answer | None:
            if request.method != "POST" or not request.path.endswith("/artifacts"):
                return None
            batch = request.json()
            ids = [f"artifact-{number}" for number in range(len(batch["artifacts"]))]
            action = {"url": url, "method": "POST", "path": "/store", "file_input": "file"}
            instructions: dict[str, Any] = {"data": {"path": "${artifact:path}"}, "action": action}
            each = dict.fromkeys(ids, instructions)
            return answer_json(
                {
                    "id": batch["id"],
                    "artifact_ids": ids,
                    "upload_instructions": instructions,
                    "per_artifact_instructions": each,
                }
            )

        drill.server.interfere = lead_away
        record = drill.send(drill.honest("sealed"))
        drill.attempts += 1
        drill.must(
            "is neither" in record.log or "not an address" in record.log or "leads to" in record.log,
            f"{url}: the job's log does not say why nothing was uploaded",
        )
        drill.must((record.finish or {}).get("exit_status") != "0", f"{url}: the job passed without its artifacts")
    drill.server.interfere = lambda _request: None
    drill.note_code("artifact.store")


def _leaks(drill: Drill) -> None:
    """A job that prints its secret in every way; what is sent is looked at as in every scenario."""
    record = drill.send(drill.honest("leaking"))
    drill.attempts += 9
    drill.must("the end" in record.log, "the job that leaks did not run")
    drill.must("[REDACTED]" in record.log, "nothing was hidden in the log", "no secret left")
    value = drill.server.secrets["deploy-key"]
    drill.must(value not in record.log, "the secret is in the log")


def _forges(drill: Drill) -> None:
    """A job that tells the server how it ended: its calls go through the agent, which refuses them."""
    job = drill.honest("forging")
    record = drill.send(job)
    folder = drill.ground.records / record.id
    for call in ("finish", "start", "disconnect", "accept"):
        drill.attempts += 1
        answer = (folder / call).read_text(encoding="utf-8", errors="replace")
        drill.must(" 40" in answer.partition("\n")[0], f"the job's call to {call} was answered: {answer[:200]}")
    drill.must("broker.call" in (folder / "finish").read_text("utf-8"), "the refusal does not say why")
    drill.note_code("broker.call")
    environment = (folder / "environment").read_text("utf-8", "replace")
    drill.must(job["token"] not in environment, "the job has the token that its agent calls the server with")
    finishes = [request for request in drill.server.requests if request.path.endswith(f"/jobs/{record.id}/finish")]
    drill.must(len(finishes) == 1, f"the server was told {len(finishes)} times how the job ended")
    drill.must(
        (record.finish or {}).get("exit_status") == "3", "the job's real end was not told", "the agent told the end"
    )


SCENARIOS = (
    Scenario(
        id="K01",
        title="Artifact paths chosen by the server",
        actors=_CP,
        change="`BUILDKITE_ARTIFACT_PATHS` with keys, credentials and everything",
        happens="patterns are sealed; without a seal they name files of the checkout alone",
        codes=("seal.differs", "environment.value"),
        setting='`proof = "seal"`',
        attempts=_patterns,
        play=_uploads,
    ),
    Scenario(
        id="K02",
        title="Destination chosen by the server",
        actors=_CP,
        change="`BUILDKITE_ARTIFACT_UPLOAD_DESTINATION`",
        happens="destinations are the operator's",
        codes=(FORBIDDEN,),
        attempts=lambda _ground: variables("BUILDKITE_ARTIFACT_UPLOAD_DESTINATION", "s3://elsewhere/x"),
    ),
    Scenario(
        id="K03",
        title="Endpoints of stores",
        actors=_CP,
        change="`BUILDKITE_ARTIFACTORY_URL`, `BUILDKITE_GCS_ACCESS_HOST`, `BUILDKITE_S3_...`",
        happens="names outside the table are refused",
        codes=(FORBIDDEN,),
        attempts=lambda _ground: variables(
            "BUILDKITE_ARTIFACTORY_URL BUILDKITE_ARTIFACTORY_USER BUILDKITE_GCS_ACCESS_HOST "
            "BUILDKITE_GCS_PATH_PREFIX BUILDKITE_S3_DEFAULT_REGION BUILDKITE_S3_ACCESS_URL BUILDKITE_S3_ENDPOINT",
            "http://127.0.0.1:9",
        ),
    ),
    Scenario(
        id="K04",
        title="Upload instructions that lead elsewhere",
        actors=_CP,
        change="`upload_instructions.action`: another host, an internal one, another scheme",
        happens="artifacts go to the server's host, hosts that the operator named, and public ones over TLS",
        codes=("artifact.store",),
        setting="`artifact-stores`",
        play=_instructions,
    ),
    Scenario(
        id="K05",
        title="Secrets in logs",
        actors=("PR", "CP"),
        change="a job prints its secret: plain, in base64 and hexadecimal, in JSON, in pieces",
        happens="known secrets, encoded ones too, are replaced before anything is sent",
        setting="`redacted-vars`; `redactor add` for values that a job makes",
        play=_leaks,
    ),
    Scenario(
        id="K08",
        title="The end of a job, told by the job",
        actors=("PR", "CP"),
        change="a job calls `finish`, `start`, `disconnect` and `accept` with all that it knows",
        happens="jobs reach the server through their agent, which passes on what commands need, and refuses the rest",
        codes=("broker.call",),
        play=_forges,
    ),
    Scenario(
        id="K10",
        title="Debug output switched on",
        actors=_CP,
        change="`BUILDKITE_AGENT_DEBUG`, `BUILDKITE_AGENT_DEBUG_HTTP`",
        happens="no setting of an agent travels with a job",
        codes=(FORBIDDEN,),
        attempts=lambda _ground: variables(
            "BUILDKITE_AGENT_DEBUG BUILDKITE_AGENT_DEBUG_HTTP BUILDKITE_AGENT_LOG_LEVEL", "true"
        ),
    ),
)
