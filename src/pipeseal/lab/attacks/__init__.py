"""Every attack of the drill, in the catalogue's order; a module or a folder for each group."""

from __future__ import annotations

from pipeseal.lab.attacks.a_signed_fields import SCENARIOS as A
from pipeseal.lab.attacks.b_job_and_step import SCENARIOS as B
from pipeseal.lab.attacks.c_environment import SCENARIOS as C
from pipeseal.lab.attacks.d_code import SCENARIOS as D
from pipeseal.lab.attacks.e_replays import SCENARIOS as E
from pipeseal.lab.attacks.f_formats import SCENARIOS as F
from pipeseal.lab.attacks.g_signer import SCENARIOS as G
from pipeseal.lab.attacks.j_answers import SCENARIOS as J
from pipeseal.lab.attacks.k_outputs import SCENARIOS as K
from pipeseal.lab.attacks.l_keys import SCENARIOS as L
from pipeseal.lab.scenario import Scenario

# Letter of a group to what it is about.
GROUPS = {
    "A": "what was signed is changed",
    "B": "the job says other things than its step",
    "C": "variables",
    "D": "other code",
    "E": "replays and relocation",
    "F": "formats: JWS, JWK, JSON",
    "G": "asking the signer",
    "J": "answers to the agent itself",
    "K": "what leaves",
    "L": "keys",
}

SCENARIOS: tuple[Scenario, ...] = (*A, *B, *C, *D, *E, *F, *G, *J, *K, *L)
