"""Which variables a pipeline file may use: those whose values somebody other than the control plane vouches for.

A value that the server chose must not reach anything signed, and neither must its choice to send none: `${X:-word}`
of a variable that nobody declared is refused as well as `$X`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from pipeseal.errors import MalformedInput, escape_control
from pipeseal.policy.environment import NAME, find_row
from pipeseal.signer.config import UploadRule

# Whoever may push chooses what branches and tags are called; a shell must not take such a name for anything else.
_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._/@+:,%=-]*")
_CHOSEN_BY_PUSHERS = frozenset({"BUILDKITE_BRANCH", "BUILDKITE_TAG"})


class ProvenVariables:
    """Variables with what is known of where they come from.

    Parameters:
        proven: by the upload step's seal.
        checked: by the signer itself: commit, branch, tag, pull request, repository.
        rule: declares constants, and variables without a value.
    """

    def __init__(self, proven: Mapping[str, str], checked: Mapping[str, str], rule: UploadRule) -> None:
        self.values: dict[str, str] = {**rule.constants, **proven, **checked}
        self._known = self.values.keys() | rule.unset

    def declare(self, values: Mapping[str, str], names: Mapping[str, str]) -> None:
        """From now on these hold too: a document of the file sets them for those behind it.

        Parameters:
            values: all variables as they are after the document.
            names: those that it set.
        """
        self.values = dict(values)
        self._known = self._known | names.keys()

    def check(self, name: str) -> None:
        """That a pipeline file may use a variable.

        Raises:
            MalformedInput: `signer.taint`: nobody vouches for its value; `signer.value`: a shell would not take its
                value for mere text.
        """
        shown = escape_control(name[:100])
        if name not in self._known:
            row = find_row(name) if NAME.fullmatch(name) else None
            what = "what the control plane says it is" if row is not None else "declared nowhere"
            raise MalformedInput(
                "signer.taint",
                f"{shown} is {what}, so it cannot become part of what is signed",
                help=f"write $${shown} to have it expanded when the job runs, set it in the pipeline's `env`, or "
                "declare it in the signer's file (`constants`, `unset`)",
                evidence={"variable": name[:200]},
            )
        value = self.values.get(name, "")
        if value and name in _CHOSEN_BY_PUSHERS and not _PLAIN.fullmatch(value):
            raise MalformedInput(
                "signer.value",
                f"{shown} is {escape_control(value[:100])!r}, which a shell may take for more than text",
                help=f"write $${shown} and quote it, so that it is expanded when the job runs, or rename the branch",
                evidence={"variable": name[:200]},
            )
