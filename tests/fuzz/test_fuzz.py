"""A few seconds of fuzzing in each test run: no fault, and memory bounded. `make fuzz` goes on for longer."""

from __future__ import annotations

import tracemalloc
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeseal.errors import PipesealError
from tests.fuzz.mutation import mutate
from tests.fuzz.targets import TARGETS, Target

# What one input of at most 200 KB may take while it is read.
MAX_BYTES = 64 << 20


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_seeds_are_what_they_should_be(target: Target) -> None:
    """Each reader takes at least one of its seeds: otherwise fuzzing would stop at the door."""
    taken = 0
    for seed in target.seeds():
        try:
            target.read(seed)
            taken += 1
        except PipesealError:
            pass
    assert taken > 0 or target.name == "signature"  # the payload is another one


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(random=st.randoms(use_true_random=False))
def test_no_bytes_make_a_reader_fail(target: Target, random: Random) -> None:
    data = mutate(target.seeds(), random)
    try:
        target.read(data)
    except PipesealError:
        pass


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_memory_is_bounded(target: Target) -> None:
    random = Random(7)
    seeds = target.seeds()
    target.read(seeds[0]) if target.name != "signature" else None
    tracemalloc.start()
    try:
        for _ in range(30):
            data = mutate(seeds, random)
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            try:
                target.read(data)
            except PipesealError:
                pass
            assert tracemalloc.get_traced_memory()[1] - before < MAX_BYTES
    finally:
        tracemalloc.stop()


def test_a_chunk_of_less_than_nothing_is_no_answer() -> None:
    """Found by fuzzing: the standard library lets another error out there."""
    from tests.fuzz.targets import BY_NAME

    with pytest.raises(PipesealError) as caught:
        BY_NAME["answer"].read(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-12\r\n{}\r\n0\r\n\r\n")
    assert caught.value.code == "api.answer"
