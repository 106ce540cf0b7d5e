"""The disk is full: who asked hears so, nothing is half done, and it goes on when there is room again."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

from tests.agent.agent_process import agent_process
from tests.controlplane.job_side import announced, create, send_form
from tests.controlplane.running import QUICK, FakeAgent, running_server
from tests.faults.cutting_proxy import cutting_proxy
from tests.faults.small_disk import small_disk
from tests.faults.test_agent_twins import Endpoint

SETTINGS = replace(QUICK, ping_hold=0.2)
DATA = random.Random(7).randbytes(90_000)


def test_a_server_without_room_says_so_and_goes_on_when_there_is_some(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk, running_server(disk.folder / "data", SETTINGS) as running:
        api = running.api
        api.create_pipeline("steps: [{command: x}]")
        build = api.create_build()
        job = FakeAgent(api).take()
        assert job.chunk(1, 0, DATA[:1000]).status == 200
        artifact_id, instructions = create(job, announced("a.bin", DATA))
        disk.fill()
        answers = [
            job.chunk(2, 1000, DATA[1000:]),
            send_form(job, instructions, DATA),
            api.rest("POST", "/pipelines/demo/builds", {"message": "m" * 60_000}),
            job.call("POST", "/data/set", {"key": "k", "value": "v" * 60_000}),
        ]
        for answer in answers:
            assert (answer.status, answer.json["code"]) == (503, "server.store")
            assert "look at" in answer.json["message"]
        assert api.log(build, job.id) == DATA[:1000]
        assert [one["number"] for one in api.rest("GET", "/pipelines/demo/builds").json] == [1]
        assert not list((running.folder / "objects" / ".incoming").iterdir())
        disk.free()
        assert job.chunk(2, 1000, DATA[1000:]).status == 200
        assert send_form(job, instructions, DATA).status == 204
        assert job.call("PUT", "/artifacts", {"artifacts": [{"id": artifact_id, "state": "finished"}]}).status == 200
        assert job.call("POST", "/data/set", {"key": "k", "value": "v"}).status == 200
        assert job.finish().status == 200
        assert api.wait_build("passed")["meta_data"] == {"k": "v"}
        assert api.log(build, job.id) == DATA
        assert api.create_build()["number"] == 2
        FakeAgent(api).run()


def test_an_agent_without_room_fails_the_job_and_runs_the_next(tmp_path: Path) -> None:
    with (
        small_disk(tmp_path / "disk", of_other_processes=True) as disk,
        running_server(tmp_path / "data", SETTINGS) as running,
        cutting_proxy(running.api.url) as proxy,
    ):
        api = running.api
        token = f"file://{running.folder / 'agent-token'}"
        decisions = disk.folder / "decisions"
        decisions.touch(0o600)
        flags: tuple[str, ...] = (
            "--token",
            token,
            "--no-verification",
            "--skip-checkout",
            "--decision-log",
            str(decisions),
        )
        flags += ("--build-path", str(disk.folder / "b"))
        for slug in ("one", "two"):
            api.create_pipeline("steps: [{command: 'pwd; echo done'}]", slug)
        with agent_process(Endpoint(proxy), tmp_path / "agent", *flags) as agent:
            api.create_build("one")
            api.wait_build("passed", slug="one")
            first = decisions.read_bytes()
            with decisions.open("ab") as file:  # so that the next line begins in the last page there is, and is cut
                file.write(b" " * (3 * 4096 - len(first) - 21) + b"\n")
            disk.fill()
            build = api.create_build("two")
            build = api.wait_build("failed", slug="two")
            log = api.log(build, build["jobs"][0]["id"])
            assert b"No space left on device" in log, log
            assert b"done" not in log
            assert "The decision log cannot be written: No space left on device" in agent.log
            disk.free()
            api.create_build("two")
            api.wait_build("passed", number=2, slug="two")
            assert agent.process.poll() is None
        rows = [row.strip() for row in decisions.read_bytes().splitlines()]
        assert rows[0] == first.strip()
        torn = rows[2]
        assert len(torn) == 20 and torn == first[:20]  # alone on its line, where a reader passes it over
        assert [json.loads(row)["decision"] for row in (rows[0], rows[3])] == ["approved", "approved"]
        assert len(rows) == 4


def test_an_agent_without_room_for_small_files_fails_the_job_and_runs_the_next(tmp_path: Path) -> None:
    with (
        small_disk(tmp_path / "disk", of_other_processes=True) as disk,
        running_server(tmp_path / "data", SETTINGS) as running,
        cutting_proxy(running.api.url) as proxy,
    ):
        api = running.api
        flags = ("--token", f"file://{running.folder / 'agent-token'}", "--no-verification", "--skip-checkout")
        environment = {"TMPDIR": str(disk.folder)}
        api.create_pipeline("steps: [{command: 'echo done'}]")
        with agent_process(Endpoint(proxy), tmp_path / "agent", *flags, environment=environment) as agent:
            for number, state in ((1, "passed"), (2, "failed"), (3, "passed")):
                if state == "failed":
                    disk.fill()
                api.create_build()
                build = api.wait_build("passed", "failed", number=number)
                assert build["state"] == state, agent.log
                if state == "failed":
                    assert b"No space left on device" in api.log(build, build["jobs"][0]["id"])
                    disk.free()
            assert agent.process.poll() is None


def test_a_full_disk_takes_the_copy_of_a_log_and_not_the_log(tmp_path: Path) -> None:
    with (
        small_disk(tmp_path / "disk", of_other_processes=True) as disk,
        running_server(tmp_path / "data", SETTINGS) as running,
        cutting_proxy(running.api.url) as proxy,
    ):
        api = running.api
        token = f"file://{running.folder / 'agent-token'}"
        flags: tuple[str, ...] = ("--token", token, "--no-verification", "--skip-checkout")
        flags += ("--enable-job-log-tmpfile", "--job-log-path", str(disk.folder), "--no-ansi-timestamps")
        api.create_pipeline("steps: [{command: 'seq 1 1000000; echo the end'}]")  # 6.9 MB
        (disk.folder / "taken").write_bytes(bytes(4 << 20))
        build = api.create_build()
        with agent_process(Endpoint(proxy), tmp_path / "agent", *flags):
            api.wait_build("passed")
        log = api.log(build, build["jobs"][0]["id"])
        assert log.count(b"\n") > 1_000_000
        assert b"\n999999\r\n1000000\r\nthe end\r\n" in log
        assert b"The copy of this log is not whole: No space left on device" in log
