"""Where downloads go, and what a server may say about artifacts: nothing it writes leads astray or falls over."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeseal.agent.artifacts.destination import Destination, local_components
from pipeseal.agent.artifacts.download import is_asked_for, plan_downloads
from pipeseal.agent.artifacts.instructions import FormUpload, PartUpload, parse_created
from pipeseal.agent.artifacts.search import (
    FoundArtifact,
    parse_format,
    parse_found,
    render_found,
    select_checksum,
)
from pipeseal.agent.artifacts.stores import StorePolicy
from pipeseal.errors import ConfigurationError, MalformedInput, PipesealError, Unavailable, VerificationError


def found(path: str, **members: Any) -> FoundArtifact:
    values = {
        "artifact_id": "a-1",
        "job_id": "j-1",
        "path": path,
        "size": 3,
        "sha1": "1" * 40,
        "sha256": "2" * 64,
        "created_at": "2026-01-02T03:04:05.678Z",
        "url": "https://store.example/a",
        "upload_destination": "",
        **members,
    }
    return FoundArtifact(**values)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# --- names below the destination ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "folder", "expected"),
    [
        ("a.txt", "out", ("a.txt",)),
        ("pkg/a.txt", "out", ("pkg", "a.txt")),
        ("pkg/a.txt", "pkg", ("a.txt",)),
        ("pkg/pkg/a.txt", "pkg", ("pkg", "a.txt")),
        ("pkg", "pkg", ("pkg",)),
        ("../../etc/passwd", "out", ("etc", "passwd")),
        ("/etc/passwd", "out", ("etc", "passwd")),
        ("//etc/passwd", "out", ("etc", "passwd")),
        ("a/../../b", "out", ("b",)),
        ("a/./b/../c", "out", ("a", "c")),
        (r"win\dir\a.txt", "out", ("win", "dir", "a.txt")),
        (r"..\..\a.txt", "out", ("a.txt",)),
        ("../pkg/a", "pkg", ("pkg", "a")),
    ],
)
def test_a_path_becomes_names_below_the_destination(path: str, folder: str, expected: tuple[str, ...]) -> None:
    assert local_components(path, folder) == expected


@pytest.mark.parametrize("path", ["", ".", "..", "../..", "/", "a/", "a/..", "a/.", "\\", "a\0b", "x" * 5_000])
def test_a_path_that_names_no_file_is_refused(path: str) -> None:
    with pytest.raises(MalformedInput) as caught:
        local_components(path, "out")
    assert caught.value.code == "artifact.path"


@given(st.text(alphabet="ab./\\\0é", max_size=24), st.sampled_from(["a", "b", ""]))
def test_whatever_the_path_names_stay_below_the_destination(path: str, folder: str) -> None:
    try:
        names = local_components(path, folder)
    except MalformedInput as error:
        assert error.code == "artifact.path"
        return
    assert names
    for name in names:
        assert name not in ("", ".", "..") and "/" not in name and "\0" not in name


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet="ab./\\\0é", max_size=16))
def test_whatever_the_path_nothing_outside_the_destination_is_touched(path: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        outside = Path(folder)
        inside = outside / "in" / "a"
        inside.mkdir(parents=True)
        (outside / "b").write_text("precious")
        destination = Destination(str(inside))
        try:
            with destination.create(local_components(path, destination.name)) as file:
                file.write(b"new")
        except PipesealError as error:
            assert error.code in {"artifact.path", "artifact.file"}
        finally:
            destination.close()
        assert (outside / "b").read_text() == "precious"
        assert names_in(outside) == ["b", "in"]
        assert names_in(outside / "in") == ["a"]


def test_links_on_the_way_are_refused_and_links_at_the_end_replaced(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("precious")
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "linked").symlink_to(outside)
    (inside / "file").symlink_to(outside / "file")
    destination = Destination(str(inside))
    with (
        pytest.raises(VerificationError, match="symbolic link") as caught,
        destination.create(("linked", "file")),
    ):
        raise AssertionError("nothing was opened")
    assert caught.value.code == "artifact.symlink"
    with destination.create(("file",)) as file:
        file.write(b"new")
    destination.close()
    assert (outside / "file").read_text() == "precious"
    assert names_in(outside) == ["file"]
    assert (inside / "file").read_text() == "new" and not (inside / "file").is_symlink()


def test_a_download_that_fails_leaves_nothing(tmp_path: Path) -> None:
    destination = Destination(str(tmp_path))
    with pytest.raises(RuntimeError), destination.create(("d", "file")) as file:
        file.write(b"half")
        raise RuntimeError("the network is gone")
    (tmp_path / "taken").mkdir()
    with pytest.raises(Unavailable) as caught, destination.create(("taken",)) as file:
        file.write(b"x")
    assert caught.value.code == "artifact.file"
    (tmp_path / "plain").write_text("a file")
    with pytest.raises(Unavailable), destination.create(("plain", "below")):
        raise AssertionError("nothing was opened")
    destination.close()
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["d", "plain", "taken"]


def test_the_destination_has_to_be_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "missing", tmp_path / "file"):
        with pytest.raises(ConfigurationError) as caught:
            Destination(str(path))
        assert caught.value.code == "artifact.folder"


def test_new_files_have_ordinary_permissions(tmp_path: Path) -> None:
    umask = os.umask(0o027)
    try:
        destination = Destination(str(tmp_path))
        with destination.create(("d", "file")) as file:
            file.write(b"x")
        destination.close()
    finally:
        os.umask(umask)
    assert (tmp_path / "d" / "file").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "d").stat().st_mode & 0o777 == 0o750


# --- only what was asked for --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "path", "expected"),
    [
        ("*", "a/b", True),
        ("pkg/*.tar.gz", "pkg/x.tar.gz", True),
        ("pkg/*.tar.gz", "PKG/x.tar.gz", True),
        ("pkg/*.tar.gz", "etc/x.tar.gz", False),
        ("pkg/*.tar.gz", "pkg/x.tar.gz.sh", False),
        ("**/a.txt", "a.txt", True),
        ("a/**/b", "a/b", True),
        ("{a,b}/*.log", "b/x.log", True),
        ("{a,b}/*.log", "b/x.sh", False),
        ("[ab].log", "a.log", True),
        ("logs", "logs/a", True),
        ("logs", "logs", True),
        ("logs", "logs2/a", False),
        ("a*a", "a", False),
        ("./x", "x", True),
        (r"a\*b", "a*b", True),
        (r"win/*", r"win\a", True),
        ("dist/*", ".buildkite/hooks/pre-exit", False),
    ],
)
def test_a_server_cannot_hand_out_what_was_not_asked_for(query: str, path: str, expected: bool) -> None:
    assert is_asked_for(query, path) is expected


@given(st.text(alphabet="ab*?/{},[]\\", max_size=12), st.text(alphabet="ab/", max_size=12))
def test_what_a_pattern_matches_here_counts_as_asked_for(query: str, path: str) -> None:
    from pipeseal.agent.artifacts.globs import matches, parse_pattern

    try:
        pattern = parse_pattern(query.strip())
    except MalformedInput:
        return
    if matches(pattern, path):
        assert is_asked_for(query, path)


def test_unrequested_paths_are_refused_before_anything_is_written() -> None:
    with pytest.raises(MalformedInput, match=r"Makefile") as caught:
        plan_downloads([found("dist/a"), found("Makefile")], "dist/*", "out")
    assert caught.value.code == "artifact.path"


def test_of_several_with_one_path_the_newest_is_taken() -> None:
    older = found("dist/a", artifact_id="old", created_at="2026-01-01T00:00:00Z")
    newer = found("dist/./a", artifact_id="new", created_at="2026-01-02T00:00:00Z")
    for order in ([older, newer], [newer, older]):
        plan = plan_downloads(order, "*", "out")
        assert [(one.artifact.artifact_id, one.components) for one in plan] == [("new", ("dist", "a"))]


def test_other_stores_are_not_read() -> None:
    with pytest.raises(ConfigurationError, match="s3://bucket") as caught:
        plan_downloads([found("a", upload_destination="s3://bucket/x")], "*", "out")
    assert caught.value.code == "artifact.destination"


# --- addresses ----------------------------------------------------------------------------------------------------

POLICY = StorePolicy("http://ci.example:8080/v3", ["minio.internal:9000", "https://bucket.internal/"])


@pytest.mark.parametrize(
    "url",
    [
        "http://ci.example:8080/x",
        "http://ci.example:1/x",
        "https://ci.example/x?sig=1",
        "http://minio.internal:9000/x",
        "http://bucket.internal/x",
        "https://store.example/a%20b?X-Signature=1",
        "https://store.example/a b",
    ],
)
def test_these_addresses_may_be_used(url: str) -> None:
    address = POLICY.parse_address(url)
    assert address.target.startswith("/") and " " not in address.target


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/relative",
        "ftp://store.example/a",
        "file:///etc/passwd",
        "http://store.example/a",
        "http://minio.internal:9001/a",
        "https://user@store.example/a",
        "https://store.example:99999/",
        "https://[::1/",
        "https://store.example/a\r\nX-Evil: 1",
        "https://störe.example/",
    ],
)
def test_these_addresses_may_not(url: str) -> None:
    with pytest.raises(VerificationError) as caught:
        POLICY.parse_address(url)
    assert caught.value.code == "artifact.store"


@given(st.text(max_size=40))
def test_any_address_is_used_or_refused(url: str) -> None:
    try:
        POLICY.parse_address(url)
    except VerificationError as error:
        assert error.code == "artifact.store"


@pytest.mark.parametrize(
    ("numeric", "allowed"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1:248:1893:25c8:1946", True),
        ("127.0.0.1", False),
        ("169.254.169.254", False),
        ("10.0.0.8", False),
        ("192.168.1.1", False),
        ("::1", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("::ffff:127.0.0.1", False),
        ("0.0.0.0", False),
    ],
)
def test_a_public_name_does_not_lead_into_a_private_network(numeric: str, allowed: bool) -> None:
    address = POLICY.parse_address("https://store.example/a")
    if allowed:
        POLICY.check_destination(address, numeric)
    else:
        with pytest.raises(VerificationError, match=r"not a public address"):
            POLICY.check_destination(address, numeric)
    POLICY.check_destination(POLICY.parse_address("http://minio.internal:9000/"), numeric)


# --- what the server answers --------------------------------------------------------------------------------------

FORM = {
    "artifact_ids": ["u1"],
    "upload_instructions": {
        "data": {"key": "${artifact:path}", "policy": "p"},
        "action": {
            "url": "https://store.example/ignored?x=1",
            "method": "post",
            "path": "up load",
            "file_input": "f",
        },
    },
}


def test_a_form_is_read() -> None:
    (one,) = parse_created(json.dumps(FORM).encode(), ["log/a.txt"])
    assert one.artifact_id == "u1"
    assert one.form == FormUpload(
        "https://store.example/up%20load?x=1", "POST", (("key", "log/a.txt"), ("policy", "p")), "f"
    )


def test_parts_are_read_in_order_and_win_over_the_form() -> None:
    actions = [
        {"url": "https://s/2", "method": "PUT", "part_number": 2},
        {"url": "https://s/1", "method": "PUT", "part_number": 1},
    ]
    answer = {**FORM, "per_artifact_instructions": {"u1": {"actions": actions}}}
    (one,) = parse_created(json.dumps(answer).encode(), ["a"])
    assert one.form is None
    assert one.parts == (PartUpload("https://s/1", "PUT", 1), PartUpload("https://s/2", "PUT", 2))


def _with(**members: Any) -> dict[str, Any]:
    return {**FORM, **members}


@pytest.mark.parametrize(
    "answer",
    [
        [],
        {},
        _with(artifact_ids=[]),
        _with(artifact_ids=["u1", "u2"]),
        _with(artifact_ids=[1]),
        _with(artifact_ids=["../x"]),
        _with(upload_instructions=None),
        _with(upload_instructions={"action": None}),
        _with(upload_instructions={"action": {"url": "https://s", "method": "GET", "file_input": "f"}}),
        _with(upload_instructions={"action": {"url": 1, "method": "POST", "file_input": "f"}}),
        _with(upload_instructions={"action": {"url": "https://s", "method": "POST", "file_input": 'f"\r\n'}}),
        _with(upload_instructions={"action": {"url": "https://s", "method": "POST", "path": 1, "file_input": "f"}}),
        _with(upload_instructions={"action": {"url": "https://[", "method": "POST", "file_input": "f"}}),
        _with(upload_instructions={**FORM["upload_instructions"], "data": {"a": 1}}),  # type: ignore[dict-item]
        _with(per_artifact_instructions=[1]),
        _with(per_artifact_instructions={"u1": {"actions": [{"url": "https://s", "method": "PUT"}]}}),
        _with(
            per_artifact_instructions={
                "u1": {"actions": [{"url": "https://s", "method": "PUT", "part_number": 1}] * 2}
            }
        ),
        _with(per_artifact_instructions={"u1": {"actions": [1]}}),
    ],
)
def test_instructions_that_cannot_be_followed_are_malformed(answer: object) -> None:
    with pytest.raises(MalformedInput) as caught:
        parse_created(json.dumps(answer).encode(), ["a"])
    assert caught.value.code == "api.answer"


def test_two_artifacts_cannot_have_one_id() -> None:
    with pytest.raises(MalformedInput, match="same id"):
        parse_created(json.dumps(_with(artifact_ids=["u1", "u1"])).encode(), ["a", "b"])


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
)
_MEMBERS = st.fixed_dictionaries(
    {"artifact_ids": st.just(["u1"]) | _JSON},
    optional={
        "upload_instructions": st.fixed_dictionaries(
            {}, optional={"action": _JSON, "actions": st.lists(_JSON, max_size=2), "data": _JSON}
        )
        | _JSON,
        "per_artifact_instructions": st.fixed_dictionaries({}, optional={"u1": _JSON}) | _JSON,
    },
)


@given(_MEMBERS | _JSON)
def test_no_answer_to_creating_makes_a_command_fall_over(answer: object) -> None:
    try:
        parse_created(json.dumps(answer).encode(), ["a"])
    except MalformedInput as error:
        assert error.code == "api.answer"


@given(
    st.lists(
        st.fixed_dictionaries({}, optional={"path": st.text(max_size=5) | _JSON, "file_size": _JSON, "url": _JSON}),
        max_size=3,
    )
    | _JSON
)
def test_no_answer_to_a_search_makes_a_command_fall_over(answer: object) -> None:
    try:
        parse_found(json.dumps(answer).encode())
    except MalformedInput as error:
        assert error.code == "api.answer"


def _is_list(body: bytes) -> bool:
    try:
        return isinstance(json.loads(body), list)
    except ValueError:
        return False


@given(st.binary(max_size=40).filter(lambda body: not _is_list(body)))
def test_bytes_that_are_no_answer_are_malformed(body: bytes) -> None:
    for read in (lambda: parse_found(body), lambda: parse_created(body, ["a"])):
        with pytest.raises(MalformedInput):
            read()


# --- what is printed ----------------------------------------------------------------------------------------------


def test_a_search_result_is_printed_as_told() -> None:
    artifact = found("log/%p.txt")
    template = parse_format(r"%i|%p|%c|%j|%s|%S|%T|%u|%%x\t\x41\u00e9\101\"\\n" + "\n")
    assert render_found(artifact, template) == (
        "a-1|log/%p.txt|2026-01-02T03:04:05Z|j-1|3|"
        + "1" * 40
        + "|"
        + "2" * 64
        + '|https://store.example/a|%%x\tAéA"\\n\n'
    )
    assert render_found(artifact, parse_format(r"%j %p %c\n")) == "j-1 log/%p.txt 2026-01-02T03:04:05Z\n"
    assert render_found(found("a", created_at="2026-01-02T03:04:05.1+10:00"), "%c") == "2026-01-02T03:04:05+10:00"


@pytest.mark.parametrize("text", [r"\q", "\\", r"\x1", r"\ud800", r"\U00110000"])
def test_an_unknown_escape_is_refused(text: str) -> None:
    with pytest.raises(MalformedInput) as caught:
        parse_format(text)
    assert caught.value.code == "artifact.format"


def test_a_checksum_is_of_exactly_one_artifact() -> None:
    assert select_checksum([found("a")], "a", "", sha256=False) == "1" * 40
    assert select_checksum([found("a")], "a", "", sha256=True) == "2" * 64
    for artifacts, code in (
        ([], "artifact.none"),
        ([found("a"), found("b")], "artifact.several"),
        ([found("a", sha256="")], "artifact.checksum"),
    ):
        with pytest.raises(PipesealError) as caught:
            select_checksum(artifacts, "*", "step", sha256=True)
        assert caught.value.code == code
