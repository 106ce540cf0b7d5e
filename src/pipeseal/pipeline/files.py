"""What pipeline files are called when nobody names one."""

from __future__ import annotations

from typing import Final

# Searched in this order; exactly one of them may be there.
DEFAULT_FILES: Final = (
    "buildkite.yml",
    "buildkite.yaml",
    "buildkite.json",
    ".buildkite/pipeline.yml",
    ".buildkite/pipeline.yaml",
    ".buildkite/pipeline.json",
    "buildkite/pipeline.yml",
    "buildkite/pipeline.yaml",
    "buildkite/pipeline.json",
)
