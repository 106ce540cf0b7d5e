"""The compose file and the Helm chart: read and rendered, held to what they promise and to what our programs take."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from benchmarks.peers import find_peer
from pipeseal.agent.settings import load_settings
from pipeseal.cli.server import server
from pipeseal.controlplane.http.connections import ConnectionLimits
from pipeseal.controlplane.http.openapi.document import described_operations
from pipeseal.controlplane.http.serve import KEEP_ALIVE_SECONDS

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = ROOT / "packaging" / "compose"
CHART = ROOT / "packaging" / "helm" / "pipeseal"
OPTIONS = {name for option in server.params for name in option.opts}
VARIABLES = {str(option.envvar) for option in server.params if isinstance(option, click.Option) and option.envvar}
# Compose specification, Services: what this file uses of it.
SERVICE_MEMBERS = frozenset(
    (
        *("build", "cap_drop", "command", "depends_on", "entrypoint", "environment", "healthcheck", "image"),
        *("networks", "ports", "read_only", "restart", "secrets", "security_opt", "stop_grace_period", "tmpfs"),
        *("user", "volumes"),
    )
)


def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((COMPOSE / "compose.yaml").read_text(encoding="utf-8"))
    return loaded


SERVICES: dict[str, dict[str, Any]] = compose()["services"]


@pytest.mark.parametrize("name", SERVICES)
def test_services_use_only_what_is_defined(name: str) -> None:
    document, service = compose(), SERVICES[name]
    assert set(service) <= SERVICE_MEMBERS
    assert set(service.get("secrets", ())) <= set(document["secrets"])
    assert set(service["networks"]) <= set(document["networks"])
    assert set(service.get("depends_on", {})) <= set(SERVICES)
    for volume in service.get("volumes", ()):
        source, target, *mode = volume.split(":")
        assert target.startswith("/")
        if source.startswith("."):
            assert mode == ["ro"]
            assert (COMPOSE / source).exists() or source.startswith("./trust/")
        else:
            assert source in document["volumes"]
    for condition in service.get("depends_on", {}).values():
        assert condition["condition"] in ("service_started", "service_healthy", "service_completed_successfully")
    if "build" in service:
        build = service["build"]
        assert (COMPOSE / build["context"] / build["dockerfile"]).resolve().is_file()
        for argument in build.get("args", {}):
            assert f"ARG {argument}" in (ROOT / build["dockerfile"]).read_text(encoding="utf-8")


def test_nobody_has_a_secret_that_is_not_theirs() -> None:
    assert SERVICES["agent"]["secrets"] == ["agent-token"]
    assert "secrets" not in SERVICES["proxy"]
    assert SERVICES["database"]["secrets"] == ["database-password"]
    # What agents believe is nowhere near the servers, and jobs reach neither database nor object store.
    for name in ("server-1", "server-2", "proxy", "database", "objects"):
        assert "trust" not in json.dumps(SERVICES[name])
    assert SERVICES["agent"]["networks"] == ["agents"]
    assert all("agents" not in SERVICES[name]["networks"] for name in SERVICES if name not in ("agent", "proxy"))
    text = (COMPOSE / "compose.yaml").read_text(encoding="utf-8")
    assert not re.search(r"(PASSWORD|TOKEN|KEY): (?!/run/secrets)\S", text)
    assert "privileged: true" not in text
    assert [port for service in SERVICES.values() for port in service.get("ports", ())] == [
        "${PIPESEAL_BIND:-127.0.0.1}:8080:8080"
    ]


def test_servers_are_alike_and_are_given_what_they_know() -> None:
    one, two = ({**SERVICES[name], "depends_on": None} for name in ("server-1", "server-2"))
    assert one == two
    assert set(one["environment"]) <= VARIABLES
    assert "/healthz" in str(one["healthcheck"]["test"])
    assert "GET /healthz" in described_operations()


def fake_program(folder: Path, name: str) -> Path:
    """A program that writes down how it was called, in place of the real one."""
    folder.mkdir(exist_ok=True)
    program = folder / name
    program.write_text('#!/bin/sh\nenv >"$NOTES"\necho "ARGUMENTS=$*" >>"$NOTES"\n')
    program.chmod(0o755)
    return program


def run_script(script: Path, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", str(script)],
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_preparing_makes_each_secret_once_and_the_server_starts_with_them(tmp_path: Path) -> None:
    folder = tmp_path / "compose"
    shutil.copytree(COMPOSE, folder, ignore=shutil.ignore_patterns("secrets", "trust"))
    first = run_script(folder / "prepare", {})
    assert first.returncode == 1
    assert "pipeseal tool keygen" in first.stdout
    made = {path.name: path.read_bytes() for path in (folder / "secrets").iterdir()}
    assert set(made) == set(compose()["secrets"])
    assert len(made["secrets-key"]) == 32
    assert stat.S_IMODE((folder / "secrets").stat().st_mode) == 0o700
    (folder / "trust" / "verification.json").write_text("{}")
    assert run_script(folder / "prepare", {}).returncode == 0
    assert {path.name: path.read_bytes() for path in (folder / "secrets").iterdir()} == made

    data = tmp_path / "data"
    data.mkdir()
    fake_program(tmp_path / "bin", "pipeseal")
    started = run_script(
        folder / "start-server",
        {
            "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
            "PIPESEAL_SECRETS": str(folder / "secrets"),
            "PIPESEAL_SERVER_DATA": str(data),
            "NOTES": str(tmp_path / "notes"),
        },
    )
    assert started.returncode == 0, started.stderr
    notes = dict(line.split("=", 1) for line in (tmp_path / "notes").read_text().splitlines() if "=" in line)
    password = made["database-password"].decode().strip()
    assert notes["ARGUMENTS"] == "server"
    assert notes["PIPESEAL_SERVER_DATABASE_URL"] == f"postgresql://pipeseal:{password}@database/pipeseal"
    assert notes["AWS_SECRET_ACCESS_KEY"] == made["object-store-password"].decode().strip()
    for name in ("agent-token", "api-token", "secrets-key"):
        assert (data / name).read_bytes() == made[name]
        assert stat.S_IMODE((data / name).stat().st_mode) == 0o600
    # Such tokens are taken up by a new server (see the tests of given tokens).
    assert re.fullmatch(rb"[0-9a-f]{64}\n", made["agent-token"])


def settings_of(text: str, folder: Path) -> Any:
    """An agent's settings, as its own reader has them."""
    config = folder / "agent.cfg"
    config.write_text(text)
    config.chmod(0o600)
    return load_settings({"config": str(config)}, {})


def in_folder(text: str, folder: Path) -> str:
    """A configuration whose files lie in `folder`, where there are some."""
    for name in ("agent-token", "verification.json", "signing.json", "policy.toml"):
        (folder / name).write_text("x" * 64 if name == "agent-token" else "")
        text = re.sub(rf'"(file://)?/[^"]*/{re.escape(name)}"', rf'"\g<1>{folder / name}"', text)
    return text


def test_the_agent_of_the_compose_file_reads_its_settings(tmp_path: Path) -> None:
    text = (COMPOSE / "agent.cfg").read_text(encoding="utf-8")
    settings = settings_of(in_folder(text, tmp_path), tmp_path)
    assert settings.endpoint == "http://proxy:8080/v3"
    assert settings.token == "x" * 64
    # The script puts each file where the settings look for it.
    script = (COMPOSE / "start-agent").read_text(encoding="utf-8")
    mounted = [volume.split(":")[1] for volume in SERVICES["agent"]["volumes"]]
    for name in ("verification.json", "agent.cfg"):
        assert f"/trust/{name}" in script
        assert f"/trust/{name}" in mounted
    assert "/run/pipeseal/verification.json" in text


def test_the_proxy_lets_streams_through_and_waits_longer_than_servers_hold() -> None:
    text = (COMPOSE / "nginx.conf").read_text(encoding="utf-8")
    assert text.count("{") == text.count("}")
    settings = dict(re.findall(r"^\s*([a-z_]+) ([^;{}]+);", text, re.MULTILINE))
    assert (settings["proxy_buffering"], settings["proxy_request_buffering"]) == ("off", "off")
    assert settings["proxy_http_version"] == "1.1"
    assert int(settings["proxy_read_timeout"].removesuffix("s")) > 50
    assert int(settings["keepalive_timeout"].removesuffix("s")) < KEEP_ALIVE_SECONDS
    assert int(settings["client_header_timeout"].removesuffix("s")) <= ConnectionLimits().head_seconds
    assert set(re.findall(r"server (\S+):8080", text)) == {"server-1", "server-2"}
    # A change that was asked for once is never asked for twice by the proxy.
    assert "non_idempotent" not in settings["proxy_next_upstream"]


def values() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    return loaded


def render(tmp_path: Path, **changes: Any) -> dict[tuple[str, str], dict[str, Any]]:
    """What the chart makes of its values, with changes: by kind and name."""
    peer = find_peer("chart").path
    assert peer is not None
    file = tmp_path / "values.json"
    file.write_text(json.dumps({**values(), **changes}))
    done = subprocess.run([peer, CHART, "ci", file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = [one for one in yaml.safe_load_all(done.stdout) if one]
    assert len({(one["kind"], one["metadata"]["name"]) for one in found}) == len(found)
    return {(one["kind"], one["metadata"]["name"]): one for one in found}


def valid(instance: Any) -> bool:
    import jsonschema_rs

    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    return bool(jsonschema_rs.validator_for(schema).is_valid(instance))


def test_values_are_held_to_their_schema() -> None:
    assert valid(values())
    for path, wrong in (
        (("server", "url"), "ci.example.org"),
        (("server", "objectStore"), "/srv/objects"),
        (("server", "replicas"), 0),
        (("server", "secrets"), {"database": ""}),
        (("image", "digest"), "latest"),
        (("agents", "Upper Case"), values()["agents"]["default"]),
        (("agents", "default", "signingKey"), "x"),
        (("agentDefaults", "secrets"), {"token": "x"}),
    ):
        changed = values()
        place = changed
        for name in path[:-1]:
            place = place[name]
        place[path[-1]] = wrong
        assert not valid(changed), path


@pytest.mark.peer("chart")
def test_the_server_of_the_chart(tmp_path: Path) -> None:
    found = render(tmp_path)
    pod = found["Deployment", "ci-server"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["command"] == ["tini", "--", "pipeseal", "server"]
    arguments = dict(argument.split("=", 1) for argument in container["args"])
    assert set(arguments) <= OPTIONS
    with server.make_context("server", list(container["args"])) as context:
        assert context.params["url"] == values()["server"]["url"]
    assert {one["name"] for one in container["env"]} - VARIABLES == {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
    assert all("secretKeyRef" in one["valueFrom"] for one in container["env"])
    for probe in ("startupProbe", "readinessProbe"):
        assert f"GET {container[probe]['httpGet']['path']}" in described_operations()
    # A database that is away for a while must not end the servers.
    assert set(container["livenessProbe"]) & {"httpGet", "tcpSocket"} == {"tcpSocket"}
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    for one in (container, *pod["initContainers"]):
        assert one["securityContext"]["readOnlyRootFilesystem"] is True
        assert one["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert one["image"] == "registry.example.org/pipeseal:0.1.0"
    assert "verification" not in json.dumps(pod)
    assert "signing" not in json.dumps(pod)
    labels = found["Deployment", "ci-server"]["spec"]["template"]["metadata"]["labels"]
    for kind, at in (("Service", ("selector",)), ("PodDisruptionBudget", ("selector", "matchLabels"))):
        selector = found[kind, "ci-server"]["spec"]
        for name in at:
            selector = selector[name]
        assert selector.items() <= labels.items()
    backend = found["Ingress", "ci-server"]["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]
    assert backend == {"name": "ci-server", "port": {"name": "http"}}
    mounts = {one["name"] for one in pod["volumes"]}
    assert {one["name"] for one in container["volumeMounts"]} <= mounts


@pytest.mark.peer("chart")
def test_pools_of_agents_have_the_keys_that_are_named_and_no_others(tmp_path: Path) -> None:
    secrets = {"signing": "uploader-key", "policy": "uploader-policy"}
    uploader = {"queue": "upload", "secrets": secrets, "storage": "", "settings": {"no-plugins": "true"}}
    pools = {**values()["agents"], "upload": uploader}
    assert valid({**values(), "agents": pools})
    found = render(tmp_path, agents=pools)
    for name, queue, signs in (("default", "default", False), ("upload", "upload", True)):
        one = found["StatefulSet", f"ci-agent-{name}"]
        pod = one["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        assert pod["automountServiceAccountToken"] is False
        assert found["ServiceAccount", f"ci-agent-{name}"]["automountServiceAccountToken"] is False
        assert not {one["name"] for one in container["env"]} - {"HOME"}
        text = found["ConfigMap", f"ci-agent-{name}"]["data"]["agent.cfg"]
        settings = settings_of(in_folder(text, tmp_path), tmp_path)
        assert settings.endpoint == "http://ci-server:80/v3"
        assert settings.queue == queue
        assert bool(settings.signing_key) is signs
        assert settings.no_plugins is signs
        assert ("uploader-key" in json.dumps(pod)) is signs
        # Whatever the settings name is mounted, and read-only.
        mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
        for file in re.findall(r'"(?:file://)?(/etc/pipeseal/[^"]+)"', text):
            assert mounts[str(Path(file).parent)]["readOnly"] is True
        volumes = {volume["name"] for volume in pod["volumes"]}
        claimed = {claim["metadata"]["name"] for claim in one["spec"].get("volumeClaimTemplates", ())}
        assert volumes | claimed == {mount["name"] for mount in container["volumeMounts"]}
        assert one["spec"]["selector"]["matchLabels"].items() <= one["spec"]["template"]["metadata"]["labels"].items()
        # What a pool does not say is as in the defaults.
        assert container["resources"] == values()["agentDefaults"]["resources"]
        policy = found["NetworkPolicy", f"ci-agent-{name}"]["spec"]
        assert policy["ingress"] == []
        assert {"169.254.169.254/32"} == set(policy["egress"][-1]["to"][0]["ipBlock"]["except"])


@pytest.mark.peer("chart")
def test_agents_alone_for_a_control_plane_elsewhere(tmp_path: Path) -> None:
    defaults = {**values()["agentDefaults"], "endpoint": "https://agent.example.org/v3"}
    found = render(tmp_path, server={**values()["server"], "enabled": False}, agentDefaults=defaults)
    assert {kind for kind, _ in found} == {"ServiceAccount", "ConfigMap", "StatefulSet", "NetworkPolicy"}
    assert 'endpoint="https://agent.example.org/v3"' in found["ConfigMap", "ci-agent-default"]["data"]["agent.cfg"]


@pytest.mark.peer("chart")
def test_an_image_is_named_by_its_digest_where_there_is_one(tmp_path: Path) -> None:
    digest = f"sha256:{'a' * 64}"
    found = render(tmp_path, image={**values()["image"], "digest": digest, "tag": "ignored"})
    text = json.dumps([*found.values()])
    assert f"registry.example.org/pipeseal@{digest}" in text
    assert "ignored" not in text


def test_no_template_makes_a_secret_or_grants_a_right() -> None:
    kinds = set()
    for file in (CHART / "templates").glob("*.yaml"):
        kinds |= set(re.findall(r"^kind: (\w+)", file.read_text(encoding="utf-8"), re.MULTILINE))
    assert not kinds & {"Secret", "Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding"}
