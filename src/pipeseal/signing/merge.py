"""Settings of a pipeline that its steps inherit, put into the steps before they are signed.

Whoever runs the steps will see the merged settings, so those have to be what is signed. Only steps at the top level
inherit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pipeseal.pipeline.steps import Checkout, CommandStep, Pipeline, Secret


def merge_secrets(inherited: Sequence[Secret], own: Sequence[Secret]) -> list[Secret]:
    """The secrets of a step with those of its pipeline: its own first, one for each variable.

    When both sides have any, secrets without a variable are left out, as the ecosystem's tools do it.

    Parameters:
        inherited: the pipeline's.
        own: the step's.
    """
    if not inherited or not own:
        return list(own or inherited)
    merged: dict[str, Secret] = {}
    for secret in (*own, *inherited):
        if secret.environment_variable:
            merged.setdefault(secret.environment_variable, secret)
    return list(merged.values())


def merge_pipeline_secrets(pipeline: Pipeline) -> Pipeline:
    """A copy of `pipeline` whose command steps at the top level have the pipeline's secrets too."""
    if not pipeline.secrets:
        return pipeline
    steps = [
        replace(step, secrets=merge_secrets(pipeline.secrets, step.secrets))
        if isinstance(step, CommandStep)
        else step
        for step in pipeline.steps
    ]
    return replace(pipeline, steps=steps)


def merge_pipeline_checkout(pipeline: Pipeline) -> Pipeline:
    """A copy of `pipeline` whose command steps at the top level have the pipeline's checkout settings where they set
    none.

    No agent or tool of the ecosystem does this today; a control plane may.
    """
    inherited = pipeline.checkout
    if inherited is None or inherited.is_empty:
        return pipeline
    steps = [
        replace(step, checkout=merge_checkout(inherited, step.checkout)) if isinstance(step, CommandStep) else step
        for step in pipeline.steps
    ]
    return replace(pipeline, steps=steps)


def merge_checkout(inherited: Checkout, own: Checkout | None) -> Checkout:
    """Checkout settings of a step with those of its pipeline where it sets none, one by one.

    Parameters:
        inherited: the pipeline's.
        own: the step's; None when it has none.
    """
    own = own or Checkout()
    return Checkout(
        skip=inherited.skip if own.skip is None else own.skip,
        submodules=inherited.submodules if own.submodules is None else own.submodules,
        ssh_secret=inherited.ssh_secret if own.ssh_secret is None else own.ssh_secret,
        depth=inherited.depth if own.depth is None else own.depth,
        rest=own.rest | {name: value for name, value in inherited.rest.items() if name not in own.rest},
    )
