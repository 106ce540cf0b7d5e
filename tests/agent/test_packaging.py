"""The service unit and the container file: read by the tools that will read them, and held to what they promise."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
UNIT = ROOT / "packaging" / "systemd" / "pipeseal-agent.service"
HARDENED = ROOT / "packaging" / "systemd" / "hardened.conf"
CONTAINER = ROOT / "packaging" / "container" / "Containerfile"

ANALYZE = shutil.which("systemd-analyze")
needs_systemd = pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is not installed")


def install(folder: Path, unit: str, drop_in: str = "") -> Path:
    """The unit as it would be installed, with a program that is there."""
    path = folder / "pipeseal-agent.service"
    path.write_text(re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", unit, flags=re.M))
    if drop_in:
        (folder / "pipeseal-agent.service.d").mkdir()
        (folder / "pipeseal-agent.service.d" / "hardened.conf").write_text(drop_in)
    return path


def analyze(*arguments: str) -> tuple[int, str]:
    assert ANALYZE is not None
    done = subprocess.run([ANALYZE, *arguments], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@needs_systemd
@pytest.mark.parametrize("hardened", [False, True])
def test_systemd_reads_the_unit_without_a_complaint(tmp_path: Path, hardened: bool) -> None:
    path = install(tmp_path, UNIT.read_text(), HARDENED.read_text() if hardened else "")
    assert analyze("verify", str(path)) == (0, "")


@needs_systemd
def test_systemd_would_complain_about_what_it_does_not_know(tmp_path: Path) -> None:
    path = install(tmp_path, UNIT.read_text().replace("[Service]", "[Service]\nNoSuchThing=1"))
    assert "NoSuchThing" in analyze("verify", str(path))[1]


@needs_systemd
def test_drop_in_takes_most_of_the_exposure_away(tmp_path: Path) -> None:
    path = install(tmp_path, UNIT.read_text(), HARDENED.read_text())
    level = re.search(r"exposure level for \S+ ([0-9.]+)", analyze("security", "--offline=true", str(path))[1])
    assert level is not None and float(level[1]) < 2.5


def test_unit_lets_jobs_finish_and_takes_nothing_from_them() -> None:
    settings = dict(line.split("=", 1) for line in UNIT.read_text().splitlines() if re.match(r"[A-Z]\w+=", line))
    # `control-group` would send SIGTERM to the jobs themselves.
    assert settings["KillMode"] == "mixed" and int(settings["TimeoutStopSec"]) >= 600
    assert settings["OOMPolicy"] == "continue" and settings["User"] != "root"
    assert settings["RestartPreventExitStatus"] == "6"
    # Each of these implies NoNewPrivileges, or breaks containers, devices or mounted folders of jobs.
    taken = {row.partition("=")[0] for row in HARDENED.read_text().splitlines() if re.match(r"[A-Z]\w+=", row)}
    assert not taken & set(settings)


# --- the container -------------------------------------------------------------------------------------------------


def instructions() -> list[tuple[str, str]]:
    """Instruction and the rest, with continued lines joined and comments left out."""
    lines = [line for line in CONTAINER.read_text().splitlines() if not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in joined.splitlines()) if word]


def test_container_file_is_whole() -> None:
    known = {"ARG", "FROM", "WORKDIR", "COPY", "RUN", "ENV", "USER", "VOLUME", "STOPSIGNAL", "ENTRYPOINT"}
    rows = instructions()
    assert {word for word, _ in rows} == known
    for word, rest in rows:
        if word == "COPY" and not rest.startswith("--from"):
            assert all((ROOT / name).exists() for name in rest.split()[:-1]), rest
        if word == "RUN":
            checked = subprocess.run(["/bin/sh", "-n", "-c", rest], capture_output=True, text=True, check=False)
            assert checked.returncode == 0, checked.stderr
    assert [rest for word, rest in rows if word == "USER"][-1] not in {"0", "root"}
    assert json.loads(next(rest for word, rest in rows if word == "ENTRYPOINT"))[0] == "tini"
    # The user comes after everything that needs root, and what is run is what was built.
    order = [word for word, _ in rows]
    assert order.index("USER") > max(index for index, word in enumerate(order) if word == "RUN")
    assert "--require-hashes" in CONTAINER.read_text()


def test_container_builder_has_no_complaint() -> None:
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "info"], capture_output=True, check=False).returncode != 0:
        pytest.skip("there is no container engine that runs")
    done = subprocess.run(
        [docker, "build", "--check", "-f", str(CONTAINER), str(ROOT)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
