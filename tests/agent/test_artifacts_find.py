"""Finding files for artifacts: links, folders, order, checksums, and what is said about what cannot be read."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from pipeseal.agent.artifacts.content_types import UNKNOWN, content_type_of
from pipeseal.agent.artifacts.find import Search, collect_files, find_paths, render_size
from pipeseal.errors import ConfigurationError, Unavailable


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for path in ("a.txt", "b.log", "d/c.txt", "d/e/f.txt", ".hidden.txt", "with space.txt", "z/y.txt"):
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def paths(text: str, **options: object) -> list[str]:
    return [file.path for file in collect_files(Search(text, **options))]  # type: ignore[arg-type]


def test_files_come_in_a_fixed_order_depth_first_each_once(tree: Path) -> None:
    assert paths("**/*.txt") == [".hidden.txt", "a.txt", "d/c.txt", "d/e/f.txt", "with space.txt", "z/y.txt"]
    assert paths("d/**/*.txt;**/*.txt;./a.txt") == [
        "d/c.txt",
        "d/e/f.txt",
        ".hidden.txt",
        "a.txt",
        "with space.txt",
        "z/y.txt",
    ]
    assert paths(
        "*.txt",
    ) == [".hidden.txt", "a.txt", "with space.txt"]


def test_patterns_are_split_and_trimmed_as_told(tree: Path) -> None:
    assert paths(" a.txt ;\n b.log;; ") == ["a.txt", "b.log"]
    assert paths("a.txt::b.log", delimiter="::") == ["a.txt", "b.log"]
    (tree / "x;y").write_text("x")
    assert paths("x;y", delimiter="") == ["x;y"]


def test_absolute_patterns_give_paths_from_the_root(tree: Path) -> None:
    below_root = str(tree / "d").lstrip("/")
    assert paths(f"{tree}/d/*") == [f"{below_root}/c.txt"]
    assert paths("d/../a.txt") == ["a.txt"]
    assert paths("d/e/../*.txt") == ["d/c.txt"]


def test_paths_above_the_working_directory_say_so(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree / "d")
    assert paths("../*.log") == ["../b.log"]


def test_a_search_can_begin_elsewhere_than_in_this_process(
    tree: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    (tree / "linked").symlink_to("d")
    for follow in (False, True):
        search = Search("d/**/*.txt;b.log;linked/*;../nowhere/*", directory=str(tree), follow_links=follow)
        found = {file.path: file.source for file in collect_files(search)}
        assert found == {path: str(tree / path) for path in ("d/c.txt", "d/e/f.txt", "b.log", "linked/c.txt")}
    assert [file.path for file in collect_files(Search("b.log", literal=True, directory=str(tree)))] == ["b.log"]
    assert collect_files(Search("**/*")) == []


def test_home_is_expanded(tree: Path) -> None:
    found = collect_files(Search("~/*.log"), home=str(tree))
    assert [file.source for file in found] == [str(tree / "b.log")]


def test_folders_are_never_artifacts_and_naming_one_is_explained(tree: Path) -> None:
    said: list[str] = []
    assert collect_files(Search("d"), warn=said.append) == []
    assert said == ["d is a folder; d/**/* means all files in it"]
    said.clear()
    assert collect_files(Search("d;a.txt", literal=True), warn=said.append)[0].path == "a.txt"
    assert said == ["d is a folder; left out"]
    assert [file.path for file in collect_files(Search("d*"), warn=said.append)] == []


def test_what_is_not_there_is_said_for_a_path_and_nothing_for_a_pattern(tree: Path) -> None:
    said: list[str] = []
    assert collect_files(Search("missing.txt;missing/*;x*y"), warn=said.append) == []
    assert said == ["missing.txt: No such file or directory"]


def test_a_literal_path_that_is_not_there_is_an_error(tree: Path) -> None:
    with pytest.raises(Unavailable, match=r"missing\*") as caught:
        collect_files(Search("missing*", literal=True))
    assert caught.value.code == "artifact.file"


def test_literal_paths_are_not_patterns(tree: Path) -> None:
    (tree / "[x]*.txt").write_text("odd")
    assert paths("[x]*.txt", literal=True) == ["[x]*.txt"]
    assert paths("[x]*.txt") == []
    assert paths(r"\[x]\*.txt") == ["[x]*.txt"]


def test_links_to_files_are_artifacts_unless_told_otherwise(tree: Path) -> None:
    (tree / "link.txt").symlink_to("d/c.txt")
    found = collect_files(Search("link.txt"))
    assert (found[0].path, found[0].size) == ("link.txt", len("d/c.txt"))
    assert paths("*.txt", skip_links=True) == [".hidden.txt", "a.txt", "with space.txt"]


def test_links_to_folders_are_looked_into_only_when_told(tree: Path) -> None:
    (tree / "linked").symlink_to("d")
    assert paths("linked/**/*.txt") == ["linked/c.txt", "linked/e/f.txt"]  # it was named outright
    assert paths("l*/**/*.txt") == []
    assert paths("l*/**/*.txt", follow_links=True) == ["linked/c.txt", "linked/e/f.txt"]
    assert paths("l*") == []


def test_a_circle_of_links_ends(tree: Path) -> None:
    (tree / "d" / "up").symlink_to("..")
    said: list[str] = []
    found = [file.path for file in collect_files(Search("d/**/*.txt", follow_links=True), warn=said.append)]
    assert found == ["d/c.txt", "d/e/f.txt", "d/up/.hidden.txt", "d/up/a.txt", "d/up/with space.txt", "d/up/z/y.txt"]
    assert said == ["d/up/d leads back to a folder above it; not followed"]
    (tree / "self").symlink_to("self")
    with pytest.raises(Unavailable):
        collect_files(Search("self*", follow_links=True))


def test_a_link_to_nothing_is_an_error_that_says_how_to_leave_it_out(tree: Path) -> None:
    (tree / "dangling.txt").symlink_to("nothing")
    with pytest.raises(Unavailable, match="dangling") as caught:
        collect_files(Search("*.txt"))
    assert "--upload-skip-symlinks" in caught.value.help
    assert "dangling.txt" not in paths("*.txt", skip_links=True)


def test_pipes_are_left_out_and_not_waited_for(tree: Path) -> None:
    os.mkfifo(tree / "pipe.txt")
    said: list[str] = []
    assert "pipe.txt" not in [file.path for file in collect_files(Search("*.txt"), warn=said.append)]
    assert said == ["pipe.txt is no regular file; left out"]


def test_a_folder_that_cannot_be_looked_into_is_said(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.scandir

    def scandir(path: str) -> object:
        # The super user, who runs tests in containers, is never refused.
        if path == "d":
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    said: list[str] = []
    assert list(find_paths(Search("**/*.txt"), warn=said.append)) == [
        ".hidden.txt",
        "a.txt",
        "with space.txt",
        "z/y.txt",
    ]
    assert said == ["cannot look into d: Permission denied"]


def test_only_folders_that_can_matter_are_looked_into(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[str] = []
    real = os.scandir

    def scandir(path: str) -> object:
        looked.append(path)
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert list(find_paths(Search("d*/c.txt;z/*"))) == ["d/c.txt", "z/y.txt"]
    assert sorted(looked) == [".", "d", "z"]


def test_checksums_and_sizes_are_of_the_content(tree: Path) -> None:
    content = os.urandom(3 << 20)
    (tree / "big.bin").write_bytes(content)
    (tree / "empty").write_bytes(b"")
    big, empty = collect_files(Search("big.bin;empty"), workers=3)
    assert (big.size, big.sha1, big.sha256) == (
        len(content),
        hashlib.sha1(content).hexdigest(),
        hashlib.sha256(content).hexdigest(),
    )
    assert (empty.size, empty.sha256) == (0, hashlib.sha256(b"").hexdigest())


def test_names_that_are_not_utf8_are_found_and_read(tree: Path) -> None:
    name = b"caf\xe9.txt"
    Path(os.fsdecode(bytes(tree) + b"/" + name)).write_text("coffee")
    found = collect_files(Search("caf*"))
    assert os.fsencode(found[0].path) == name
    assert found[0].size == 6


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a/b.txt", "text/plain"),
        ("a.d/LOG.TXT", "text/plain"),
        ("report.html", "text/html"),
        ("junit.xml", "text/xml"),
        ("data.json", "application/json"),
        ("shot.png", "image/png"),
        ("dist.tar.gz", "application/gzip"),
        ("a.txt/Makefile", UNKNOWN),
        (".txt", "text/plain"),
        ("no-extension", UNKNOWN),
        ("odd.", UNKNOWN),
        ("x.unheard-of", UNKNOWN),
    ],
)
def test_content_types_come_from_names(path: str, expected: str) -> None:
    assert content_type_of(path) == expected


def test_a_content_type_can_be_given_and_must_be_one(tree: Path) -> None:
    assert collect_files(Search("a.txt"), content_type="text/x-mine")[0].content_type == "text/x-mine"
    with pytest.raises(ConfigurationError) as caught:
        collect_files(Search("a.txt"), content_type="text/plain\r\nX-Evil: 1")
    assert caught.value.code == "artifact.content_type"


@pytest.mark.parametrize(
    ("size", "shown"),
    [(0, "0 bytes"), (1023, "1,023 bytes"), (1024, "1.0 KiB"), (1_572_864, "1.5 MiB"), (5 << 40, "5.0 TiB")],
)
def test_sizes_for_people(size: int, shown: str) -> None:
    assert render_size(size) == shown
