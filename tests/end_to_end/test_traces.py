"""Traces of real builds: server and agents as processes, a collector on loopback, and secrets wherever they fit."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from pipeseal.agentapi.traceparent import parse_traceparent
from pipeseal.controlplane.domain.tokens import API_PREFIX, PREFIXES
from pipeseal.signing.keys.generate import generate_key_pair
from tests.agent.agent_process import agent_process
from tests.agent.repositories import make_repository
from tests.collector import Collector, SeenSpan, collector
from tests.controlplane.running import Api, ServerProcess, find_job

TRACING = ("--tracing-backend", "opentelemetry")
# A secret for each place that something can be put in.
SEEDS = [f"seed{number:02}-swordfish" for number in range(40)]
STEPS = f"""
env:
  PIPELINE_VALUE: {SEEDS[0]}
secrets:
  STORED: stored
steps:
  - label: "label {SEEDS[1]}"
    key: test
    command: |
      echo {SEEDS[2]} "$STORED"; echo "TRACE=$TRACEPARENT"; echo {SEEDS[3]} > {SEEDS[4]}.txt
      buildkite-agent meta-data set "key {SEEDS[5]}" "{SEEDS[6]}"
      buildkite-agent annotate "{SEEDS[7]}" --context "{SEEDS[8]}"
    env: {{STEP_VALUE: {SEEDS[9]}}}
    artifact_paths: "*.txt"
    agents: {{queue: open}}
  - wait
  - label: twice
    key: fails
    command: "echo {SEEDS[10]}; exit 3"
    retry: {{automatic: [{{exit_status: 3, limit: 1}}]}}
    agents: {{queue: open}}
  - key: refused
    command: "echo {SEEDS[11]}"
    agents: {{queue: strict}}
    depends_on: test
    soft_fail: true
  - key: unreachable
    command: "echo {SEEDS[12]}"
    plugins: [{{"https://user:{SEEDS[13]}@127.0.0.1:1/acme/none-buildkite-plugin#v1": {{value: "{SEEDS[14]}"}}}}]
    agents: {{queue: open}}
    depends_on: test
    soft_fail: true
"""
HOOK = f"#!/bin/bash\nexport FROM_HOOK={SEEDS[15]}; echo {SEEDS[16]} hook=$TRACEPARENT\n"


class Traced(NamedTuple):
    """A build that has ended, and the spans of its trace."""

    api: Api
    collector: Collector
    build: dict[str, Any]
    spans: list[SeenSpan]


def is_whole(spans: list[SeenSpan]) -> bool:
    """Whether a trace has both sides' word of every job, and the build's end, and no span without its parent."""
    names = [(span.service, span.name) for span in spans]
    if ("pipeseal-server", "build") not in names or names.count(("pipeseal-agent", "job")) != 5:
        return False
    return orphans(of_build(spans)) == ["build"]


def of_build(spans: list[SeenSpan]) -> list[SeenSpan]:
    """The spans of the build's trace."""
    return [span for span in spans if span.trace_id == root_of(spans).trace_id]


def orphans(spans: list[SeenSpan]) -> list[str]:
    """The names of spans that lie in no other."""
    ids = {span.span_id for span in spans}
    return [span.name for span in spans if span.parent_id not in ids]


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traced]:
    folder = tmp_path_factory.mktemp("traces")
    public = folder / "public.json"
    public.write_text(generate_key_pair("EdDSA", "k").public_set, encoding="utf-8")
    with collector() as running:
        server = ServerProcess(folder / "server", "--tracing", "otlp", environment=running.variables())
        api = server.start()
        try:
            repository = folder / SEEDS[17]
            commit = make_repository(repository, {".buildkite/hooks/pre-command": HOOK, "a.txt": SEEDS[18]})
            api.rest("PUT", "/secrets/stored", {"value": SEEDS[19], "description": SEEDS[20]})
            pipeline = {"name": f"Name {SEEDS[21]}", "slug": "demo", "repository": str(repository)}
            more = {"description": SEEDS[22], "configuration": STEPS}
            assert api.rest("POST", "/pipelines", pipeline | more).status == 201
            api.rest("GET", f"/pipelines?name={SEEDS[23]}&{SEEDS[24]}=1", headers={"X-Any": SEEDS[25]})
            api.call("GET", f"/{SEEDS[26]}/x?y={SEEDS[27]}", authorization=f"Bearer {SEEDS[28]}")
            api.agent_call("PUT", f"/jobs/{SEEDS[29]}/finish", SEEDS[30], {"x": SEEDS[31]})

            class Endpoint:
                endpoint = f"{api.url}/v3"

            shared = ("--token", api.registration_token, *TRACING, "--tracing-propagate-traceparent")
            variables = running.variables() | {"AGENT_ONLY": SEEDS[32]}
            with (
                agent_process(
                    Endpoint(),
                    folder / "open",
                    *shared,
                    *("--no-verification", "--queue", "open", "--tags", f"tag={SEEDS[33]}"),
                    environment=variables,
                ) as agent,
                agent_process(
                    Endpoint(),
                    folder / "strict",
                    *shared,
                    *("--queue", "strict", "--verification-jwks-file", str(public)),
                    environment=variables,
                ),
            ):
                assert agent.process.poll() is None
                api.create_build(
                    "demo",
                    commit=commit,
                    branch=f"branch-{SEEDS[34]}",
                    message=SEEDS[35],
                    author={"name": SEEDS[36], "email": f"{SEEDS[37]}@example.test"},
                    env={"BUILD_VALUE": SEEDS[38]},
                    meta_data={"k": SEEDS[39]},
                )
                build = api.wait_build("failed", "passed", slug="demo", seconds=180)
                spans = running.wait_for(is_whole, "both sides of all jobs")
            yield Traced(api, running, build, of_build(spans))
        finally:
            server.stop()


def root_of(spans: list[SeenSpan]) -> SeenSpan:
    (build,) = [span for span in spans if span.name == "build"]
    return build


def jobs_of(traced: Traced, service: str, key: str) -> list[SeenSpan]:
    """The job spans of a step, oldest first."""
    job_ids = {job["id"] for job in traced.build["jobs"] if job["step_key"] == key}
    found = [
        span
        for span in traced.spans
        if (span.service, span.name) == (service, "job") and span.attributes["cicd.pipeline.task.run.id"] in job_ids
    ]
    return sorted(found, key=lambda span: span.began)


def children(traced: Traced, parent: SeenSpan) -> dict[str, SeenSpan]:
    return {span.name: span for span in traced.spans if span.parent_id == parent.span_id}


def test_one_trace_joins_server_and_agents(traced: Traced) -> None:
    root = root_of(traced.spans)
    assert root.parent_id == "" and root.is_failed
    assert root.attributes["cicd.pipeline.run.id"] == traced.build["id"]
    assert root.attributes["cicd.pipeline.run.url.full"] == traced.build["web_url"]
    assert (root.attributes["cicd.pipeline.name"], root.attributes["cicd.pipeline.result"]) == ("demo", "failure")
    assert orphans(traced.spans) == ["build"]
    assert len({span.span_id for span in traced.spans}) == len(traced.spans)
    for key in ("test", "fails", "refused", "unreachable"):
        for theirs, ours in zip(
            jobs_of(traced, "pipeseal-server", key), jobs_of(traced, "pipeseal-agent", key), strict=True
        ):
            assert theirs.parent_id == root.span_id and ours.parent_id == theirs.span_id
            assert theirs.attributes["cicd.pipeline.task.name"] == key


def test_a_job_says_where_its_time_went(traced: Traced) -> None:
    (job,) = jobs_of(traced, "pipeseal-server", "test")
    parts = children(traced, job)
    assert {"queued", "assigned", "running"} <= set(parts)
    assert parts["queued"].ended == parts["assigned"].began and parts["running"].ended == job.ended
    first, second = jobs_of(traced, "pipeseal-server", "fails")
    assert "waiting" in children(traced, first)
    assert second.links == ((first.trace_id, first.span_id),)
    assert (second.attributes["pipeseal.job.retries"], second.attributes["process.exit.code"]) == (1, 3)
    (run,) = jobs_of(traced, "pipeseal-agent", "test")
    done = children(traced, run)
    assert {"accept", "decide", "claim", "secrets", "checkout"} <= set(done)
    assert {"hook pre-command", "command", "artifacts"} <= set(done)
    assert done["command"].attributes["process.exit.code"] == 0
    assert done["hook pre-command"].attributes == {"pipeseal.hook.scope": "repository"}
    assert "vendored plugins" not in done and "plugins" not in done
    # What the command's own programs ask of the server is part of the command, with the transactions that it took.
    asked = [span for span in traced.spans if span.parent_id == done["command"].span_id]
    assert {span.name for span in asked} >= {
        "POST /v3/jobs/{job_id}/data/set",
        "POST /v3/jobs/{job_id}/annotations",
    }
    written = [span for span in traced.spans if span.parent_id in {call.span_id for call in asked}]
    assert {(span.name, span.attributes["db.system.name"]) for span in written} >= {("database write", "sqlite")}


def test_a_refusal_is_told_by_its_code(traced: Traced) -> None:
    (run,) = jobs_of(traced, "pipeseal-agent", "refused")
    assert run.attributes["pipeseal.decision"] == run.attributes["pipeseal.outcome"] == "refused"
    assert run.attributes["pipeseal.code"] == "signature.missing" and run.is_failed
    assert not {"checkout", "command"} & set(children(traced, run))
    (job,) = jobs_of(traced, "pipeseal-server", "refused")
    assert job.attributes["pipeseal.code"] == "signature.missing"
    (failed,) = jobs_of(traced, "pipeseal-agent", "unreachable")
    plugins = children(traced, failed)["plugins"]
    assert plugins.is_failed and plugins.attributes == {"error.type": "PhaseFailed"}


def test_programs_of_the_job_are_told_where_they_are(traced: Traced) -> None:
    log = traced.api.log(traced.build, find_job(traced.build, "test")["id"]).decode()
    (run,) = jobs_of(traced, "pipeseal-agent", "test")
    done = children(traced, run)
    for word, name in (("TRACE=", "command"), ("hook=", "hook pre-command")):
        match = re.search(rf"{word}(00-\S{{52}})", log)
        assert match is not None, log
        told = parse_traceparent(match[1])
        assert (told.trace_id, told.span_id, told.is_sampled) == (run.trace_id, done[name].span_id, True)
    assert "TRACEPARENT changed" not in log and "TRACEPARENT added" not in log


def test_no_secret_of_any_place_is_sent(traced: Traced) -> None:
    sent = b"\n".join(traced.collector.bodies)
    assert [seed for seed in SEEDS if seed.encode() in sent] == []
    prefixes = [*PREFIXES.values(), API_PREFIX]
    assert [prefix for prefix in prefixes if prefix.encode() in sent] == []
    # The seeds were really there to be sent.
    build = traced.build
    assert SEEDS[35] == build["message"] and SEEDS[34] in build["branch"]
    log = traced.api.log(build, find_job(build, "test")["id"]).decode()
    assert SEEDS[2] in log and SEEDS[16] in log
