"""Conditions: the `if` of steps, notifications and incoming webhooks, as the ecosystem documents it.

    build.branch == "main" && build.message !~ /skip deploy/i      // a comment

Read with `parse_condition`, decided with `evaluate_condition`. Nothing here is trusted and nothing here can hurt:
names are known ones, types are checked before anything is evaluated, and regular expressions run in linear time.
A condition decides what a control plane offers to run, never what an agent accepts.
"""

from __future__ import annotations

from pipeseal.controlplane.domain.conditions.condition import Condition, evaluate_condition, parse_condition
from pipeseal.controlplane.domain.conditions.facts import ConditionFacts
from pipeseal.controlplane.domain.conditions.patterns import MatchBudget
from pipeseal.controlplane.domain.conditions.variables import VARIABLES, Place, Variable

__all__ = [
    "VARIABLES",
    "Condition",
    "ConditionFacts",
    "MatchBudget",
    "Place",
    "Variable",
    "evaluate_condition",
    "parse_condition",
]
