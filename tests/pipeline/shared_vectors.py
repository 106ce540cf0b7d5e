"""The shared vectors: inputs with the outcome the reference implementation has."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "vectors"


def load_family(family: str) -> list[dict[str, Any]]:
    """The cases of one family.

    Skips the test when the vectors are not beside the checkout, and fails it when PIPESEAL_REQUIRE_PEERS=1.
    """
    path = FOLDER / f"{family}.json"
    if path.is_file():
        cases: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
        return cases
    message = f"vectors are missing: no ../shared/vectors/{family}.json beside the checkout"
    if os.environ.get("PIPESEAL_REQUIRE_PEERS") == "1":
        pytest.fail(f"{message} (PIPESEAL_REQUIRE_PEERS=1 demands them)", pytrace=False)
    pytest.skip(message)
