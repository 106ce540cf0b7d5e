"""Who may do what through the web pages and the REST API: scopes, the roles that have them, and who is asking."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from pipeseal.errors import VerificationError

# The ecosystem's words, and what each lets somebody do.
SCOPES: Final[dict[str, str]] = {
    "read_agents": "see agents",
    "write_agents": "pause and stop agents",
    "read_artifacts": "download artifacts",
    "write_artifacts": "delete artifacts",
    "read_builds": "see builds, jobs and annotations",
    "write_builds": "create, cancel, retry and unblock builds",
    "read_build_logs": "read logs",
    "write_build_logs": "delete logs",
    "read_job_env": "see the environment of jobs",
    "read_organizations": "see the organisation",
    "write_organizations": "change its settings, members and tokens",
    "read_pipelines": "see pipelines and their settings",
    "write_pipelines": "create and change pipelines",
    "write_secrets": "set secrets",
}
_READS: Final = frozenset(scope for scope in SCOPES if scope.startswith("read_"))
ROLES: Final[dict[str, frozenset[str]]] = {
    "reader": _READS,
    "member": _READS | {"write_builds"},
    "maintainer": _READS
    | {"write_builds", "write_pipelines", "write_agents", "write_secrets", "write_artifacts", "write_build_logs"},
    "owner": frozenset(SCOPES),
}


@dataclass(frozen=True, slots=True)
class Reader:
    """Who is asking.

    Parameters:
        kind: `token`: a program with an API token; `account`: a person who is signed in; `anonymous`: anyone.
        id: digest of the token, or id of the account; empty for anyone.
        name: for people: description of the token, name of the account.
        scopes: what they may do.
    """

    kind: Literal["token", "account", "anonymous"]
    id: str = ""
    name: str = ""
    scopes: frozenset[str] = frozenset()

    def need(self, scope: str) -> None:
        """Nothing, when the reader has the scope.

        Raises:
            VerificationError: `access.scope`.
        """
        if scope not in self.scopes:
            raise VerificationError(
                "access.scope",
                f"this needs the scope {scope} ({SCOPES[scope]}), which {self.name or self.kind} does not have",
                help="ask an owner of the organisation for it",
            )


ANONYMOUS: Final = Reader("anonymous")


def scopes_of_text(text: str) -> frozenset[str]:
    """The scopes of a token as they are stored; the empty text is all of them."""
    return frozenset(text.split()) & frozenset(SCOPES) if text else frozenset(SCOPES)
