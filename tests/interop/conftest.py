"""One stage for each test process, and a look ahead: while one scenario is judged, the next one plays already."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from benchmarks.peers import find_peer
from tests.interop.play import Stage
from tests.interop.scenario import STOCK, Pairing, Scenario

_NEXT = pytest.StashKey["Case | None"]()
Case = tuple[Scenario, Pairing]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Remember what comes next; running the item stays pytest's business."""
    item.stash[_NEXT] = _case_of(nextitem)


def _case_of(item: pytest.Item | None) -> Case | None:
    parameters = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
    scenario, pairing = parameters.get("scenario"), parameters.get("pairing")
    if not isinstance(scenario, Scenario) or not isinstance(pairing, Pairing):
        return None
    return (scenario, pairing) if STOCK not in pairing or find_peer("buildkite-agent").path is not None else None


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """The stage of this test process."""
    stage = Stage(tmp_path_factory.mktemp("interop"))
    yield stage
    stage.close()


@pytest.fixture
def following(request: pytest.FixtureRequest) -> Case | None:
    """What the next test will play, if it plays."""
    item: pytest.Item = request.node
    return item.stash.get(_NEXT, None)
