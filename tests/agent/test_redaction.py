"""Secrets in a stream: none gets through, wherever the borders of blocks are, and nothing else is held back."""

from __future__ import annotations

import json
from base64 import b64encode, urlsafe_b64encode
from itertools import pairwise
from urllib.parse import quote_from_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeseal.agent.redaction import (
    FEW_MATCHES,
    GROUP_SIZE,
    MARK,
    MAX_GROUPS,
    Redactor,
    find_secrets,
    go_quoted,
    spellings,
)
from pipeseal.pipeline.secret_names import is_secret_name

# Few letters, so that secrets overlap, repeat and begin in each other.
_TEXT = st.text("ab\n ", min_size=6, max_size=10)
_STREAM = st.text("ab\n \r", max_size=80)


def redact_whole(stream: bytes, needles: set[bytes]) -> bytes:
    """The definition: mark every place that belongs to a secret; secrets that overlap are one mark."""
    spans = sorted(
        (at, at + len(needle)) for needle in needles for at in range(len(stream)) if stream.startswith(needle, at)
    )
    output, position = b"", 0
    reach = -1
    for start, end in spans:
        if start < reach:
            reach = max(reach, end)
            position = reach
            continue
        output += stream[position:start] + MARK
        reach = position = end
    return output + stream[position:]


def _split(stream: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    return [stream[a:b] for a, b in pairwise(edges)]


@given(st.lists(_TEXT, min_size=1, max_size=4), _STREAM, st.lists(st.integers(0, 200), max_size=8))
def test_any_split_gives_what_the_whole_gives(secrets: list[str], text: str, cuts: list[int]) -> None:
    stream = text.encode()
    redactor = Redactor()
    redactor.add_all(secrets)
    output = b"".join(redactor.feed(block) for block in _split(stream, cuts)) + redactor.flush()
    assert output == redact_whole(stream, {spelling for secret in secrets for spelling in spellings(secret)})


@given(st.lists(_TEXT, min_size=1, max_size=4), _STREAM, st.lists(st.integers(0, 200), max_size=8))
def test_nothing_is_held_back_but_beginnings_of_secrets(secrets: list[str], text: str, cuts: list[int]) -> None:
    needles = {spelling for secret in secrets for spelling in spellings(secret)}
    redactor = Redactor()
    redactor.add_all(secrets)
    for block in _split(text.encode(), cuts):
        redactor.feed(block)
        held = redactor._held
        assert not held or any(needle.startswith(held) and needle != held for needle in needles)


def test_secret_straddles_many_blocks() -> None:
    redactor = Redactor()
    redactor.add("correct horse battery staple")
    output = (
        b"".join(redactor.feed(bytes([byte])) for byte in b"say correct horse battery staple twice")
        + redactor.flush()
    )
    assert output == b"say [REDACTED] twice"


def test_beginning_that_is_no_secret_comes_out() -> None:
    redactor = Redactor()
    redactor.add("hunter2-hunter2")
    assert redactor.feed(b"hunter2-hunt") == b""
    assert redactor.feed(b"ing") == b"hunter2-hunting"


def test_secret_that_comes_later_joins_those_before() -> None:
    redactor = Redactor()
    redactor.add("first-secret")
    assert redactor.feed(b"first-secret second-secret ") == b"[REDACTED] second-secret "
    redactor.add("second-secret")
    assert redactor.feed(b"first-secret second-secret.") == b"[REDACTED] [REDACTED]."


def test_key_of_several_lines_through_a_terminal_and_a_shell() -> None:
    key = "-----BEGIN KEY-----\nMIIBVQIBADANBg\nkqhkiG9w0BAQEF\n-----END KEY-----\n"
    redactor = Redactor()
    redactor.add(key)
    for shown in (key.replace("\n", "\r\n"), key.strip().replace("\n", " "), json.dumps(key)[1:-1], go_quoted(key)):
        assert redactor.feed(shown.encode()) + redactor.flush() == MARK, shown


def test_many_long_secrets_stay_fast() -> None:
    import time

    redactor = Redactor()
    redactor.add_all([f"{number:04}" + "-----BEGIN" * 300 for number in range(50)])
    block = (b"-" * 70 + b"\n") * 900
    started = time.monotonic()
    for _ in range(50):
        redactor.feed(block)
    assert time.monotonic() - started < 60


def test_secret_that_begins_in_the_end_of_another_is_hidden_to_its_own_end() -> None:
    redactor = Redactor()
    redactor.add_all(["key-one-two", "two-three-four", "four-five-six-seven"])
    assert redactor.feed(b"<key-one-two-three-four-five-six-seven>") == b"<[REDACTED]>"
    assert redactor.feed(b"<key-one-two-three>") == b"<[REDACTED]-three>"
    assert redactor.feed(b"<four-five-six-seven>") == b"<[REDACTED]>"


@pytest.mark.parametrize("count", [GROUP_SIZE, 3 * GROUP_SIZE + 5, GROUP_SIZE * MAX_GROUPS + 1])
def test_any_number_of_secrets_is_hidden(count: int) -> None:
    secrets = [f"s3cret%{number}%of-many" for number in range(count)]
    redactor = Redactor()
    redactor.add_all(secrets)
    shown = b"".join(redactor.feed(f"<{secret}>".encode()) for secret in secrets) + redactor.flush()
    assert shown == b"<[REDACTED]>" * count


def test_block_full_of_secrets_that_overlap() -> None:
    secrets = ["abcdef", "efghij"]
    stream = b"abcdefghij-" * (2 * FEW_MATCHES)
    redactor = Redactor()
    redactor.add_all(secrets)
    assert redactor.feed(stream) + redactor.flush() == (MARK + b"-") * (2 * FEW_MATCHES)


def test_which_variables_are_secret() -> None:
    patterns = ("*_TOKEN", "SPECIAL")
    assert is_secret_name("MY_TOKEN", patterns) and is_secret_name("SPECIAL", patterns)
    assert not is_secret_name("MY_TOKENS", patterns) and not is_secret_name("my_token", patterns)
    hidden, short = find_secrets(
        {"A_TOKEN": "long enough", "B_TOKEN": "short", "C_TOKEN": "", "D": "visible"}, patterns
    )
    assert hidden == {"A_TOKEN": "long enough"} and short == ["B_TOKEN"]


def test_quoting_like_go() -> None:
    assert go_quoted('a"b\\c\n\t\x07\x01é\u200b\U000e0001') == r"a\"b\\c\n\t\a\x01é\u200b\U000e0001"


@given(
    st.binary(min_size=8, max_size=40).filter(lambda data: b"\0" not in data),
    st.binary(max_size=9),
    st.binary(max_size=9),
)
def test_encoded_secrets_are_hidden_wherever_they_stand(secret: bytes, before: bytes, after: bytes) -> None:
    redactor = Redactor()
    redactor.add(secret.decode("utf-8", "surrogateescape"))
    for encode in (b64encode, urlsafe_b64encode):
        whole = encode(before + secret + after)
        output = redactor.feed(whole) + redactor.flush()
        assert MARK in output
        # What is left of it says at most a few bits at its borders.
        left = len(output) - len(MARK)
        assert left <= len(encode(before)) + len(encode(after)) + 4
    for text in (secret.hex(), secret.hex().upper(), quote_from_bytes(secret, safe="")):
        assert redactor.feed(text.encode()) + redactor.flush() == MARK
