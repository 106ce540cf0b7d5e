"""What an attack is: who changes what, what must happen, and how to do it. `attacks/` holds them, one file a family.

To add a scenario, add a `Scenario` to its family's `SCENARIOS`. There are two ways to say what the attacker does.

`attempts`: what the agent is told instead of an honest job. Each `Attempt` names the honest job it begins with (a row
of `honest.KINDS`) and a `lie`, which gets that job and returns the job (or the bytes) that the agent is told. The
drill sees to everything else: that the honest twin runs, that the refusal carries one of the scenario's codes at the
server, in the job's log and in the agent's, that nothing of the job started, that nobody touched a sentinel or a
trap, and that no seeded secret left.

    Scenario(
        id="A01",
        title="Command replaced consistently",
        actors=("CP",),
        change="`step.command` and `BUILDKITE_COMMAND`",
        happens="the signature does not hold over another command",
        codes=("signature.mismatch",),
        attempts=lambda ground: [Attempt(lies.edit_command(str(ground.evil)))],
    )

`play`: for everything that is more than one job (replays, two agents, answers that are no jobs, agents that must not
start). It gets the `Drill`: `drill.honest(kind)` makes a job, `drill.send(job)` has an agent take it and waits,
`drill.must_refuse`, `drill.must_run` and `drill.must` judge, `drill.start_agent(name, key=value)` starts one more.
What the drill watches all the time (sentinels, traps, secrets) is looked at afterwards here too.

A scenario that the product cannot show yet says why in `not_yet`; the drill fails on it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, TypeAlias

from pipeseal.lab.honest import JobDocument

if TYPE_CHECKING:
    from pipeseal.lab.drill import Drill
    from pipeseal.lab.ground import Ground

JobLie: TypeAlias = Callable[[JobDocument], JobDocument | bytes]


class Stops(Enum):
    """How far an attempt gets."""

    BEFORE = "nothing of the job started"
    AT_CHECKOUT = "found out at the checkout; no plugin and no command started"
    NEVER = "ran, exactly as its honest twin"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One lie about one honest job.

    Parameters:
        lie: what the agent is told in place of the honest job.
        what: in which way; for scenarios with several attempts.
        job: the honest job, a row of `honest.KINDS`.
        codes: any of which the refusal must carry; the scenario's when empty.
        stops: how far it gets.
    """

    lie: JobLie
    what: str = ""
    job: str = "sealed"
    codes: tuple[str, ...] = ()
    stops: Stops = Stops.BEFORE


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One attack.

    Parameters:
        id: letter of its group and number, as in the catalogue.
        title: what it is, a few words.
        actors: who can try: `CP` the control plane, `MITM` the network, `UI` somebody with access to the web pages,
            `PR` the author of a pull request, `PLG` of a plugin, `RUN` a compromised runner, `KEY` a leaked key.
        change: what they change.
        happens: what comes of it, half a sentence.
        codes: of the refusal; empty when what they change is ignored by construction.
        setting: what of the operator's settings matters; empty when none does.
        attempts: the lies, see `Attempt`; for the ground they are told on.
        play: what to do where a lie about one job is not enough.
        not_yet: why the drill cannot show it; empty when it can.
    """

    id: str
    title: str
    actors: tuple[str, ...]
    change: str
    happens: str
    codes: tuple[str, ...] = ()
    setting: str = ""
    attempts: Callable[[Ground], Sequence[Attempt]] | None = None
    play: Callable[[Drill], None] | None = None
    not_yet: str = ""

    @property
    def group(self) -> str:
        """The letter of its group."""
        return self.id[0]
