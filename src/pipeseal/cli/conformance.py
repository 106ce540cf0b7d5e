"""`pipeseal conformance FAMILY`: run cases through the functions the product itself uses, and say what came out.

Reads a JSON list of `{name, area, input}` from standard input and writes a JSON list of `{name, result}` to standard
output. It never sees what is expected.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

import click

from pipeseal.errors import MalformedInput, PipesealError

Case: TypeAlias = Mapping[str, Any]
Result: TypeAlias = dict[str, Any]

# A file of cases, not a pipeline: it may be large.
MAX_BYTES: Final = 512 * 1024 * 1024

# Families that go through signing; their functions are in `conformance_signing.py`.
SIGNING_FAMILIES: Final = ("canon", "sign", "verify", "jobverify", "keys")


def _refused(stage: str, error: PipesealError) -> Result:
    from pipeseal.errors import escape_control

    result: Result = {"ok": False, "stage": stage, "code": error.code, "error": escape_control(error.message)}
    if isinstance(error, MalformedInput) and error.position is not None:
        result["line"] = error.position.line
        result["column"] = error.position.column
    return result


def _text(given: Case) -> bytes:
    from base64 import b64decode

    if "yaml_b64" in given:
        return b64decode(given["yaml_b64"])
    return str(given["yaml"]).encode("utf-8", "surrogatepass")


def kind_of(step: object) -> Any:
    """The kind of a step as vectors name it: `command`, `wait`, ..., or `{"group": [kinds]}`."""
    from pipeseal.pipeline.steps import CommandStep, GroupStep, InputStep, TriggerStep, WaitStep

    match step:
        case CommandStep():
            return "command"
        case WaitStep():
            return "wait"
        case InputStep():
            return "input"
        case TriggerStep():
            return "trigger"
        case GroupStep():
            return {"group": [kind_of(inner) for inner in step.steps]}
        case _:
            return "unknown"


def _parse(case: Case) -> Result:
    from pipeseal.pipeline.expand import interpolate_pipeline
    from pipeseal.pipeline.parse import parse_all, parse_pipeline
    from pipeseal.pipeline.render import pipeline_value, render_json
    from pipeseal.pipeline.values import scrub

    given = case["input"]
    data = _text(given)
    if given.get("all"):
        documents: list[Result] = []
        for outcome in parse_all(data):
            try:
                if isinstance(outcome, MalformedInput):
                    raise outcome
                document: Result = {"json": render_json(pipeline_value(outcome))}
            except MalformedInput as error:
                documents.append({"error": error.message, "code": error.code})
                continue
            if outcome.warnings:
                document["warning"] = "\n".join(outcome.warnings)
            documents.append(document)
        return {"ok": True, "docs": documents or None}
    try:
        pipeline = parse_pipeline(data)
    except MalformedInput as error:
        return _refused("parse", error)
    result: Result = {"ok": True, "kinds": [kind_of(step) for step in pipeline.steps]}
    if pipeline.warnings:
        result["warning"] = "\n".join(pipeline.warnings)
    if not given.get("no_interpolation"):
        try:
            pipeline, env_after = interpolate_pipeline(
                pipeline, given.get("env") or {}, prefer_runtime_env=bool(given.get("prefer_runtime_env"))
            )
        except MalformedInput as error:
            return _refused("interpolate", error)
        result["env_after"] = {scrub(name): scrub(value) for name, value in env_after.items()}
    try:
        result["json"] = render_json(pipeline_value(pipeline))
    except MalformedInput as error:
        return _refused("marshal", error)
    return result


class _CaseInsensitive(dict[str, str]):
    """Variables of a system where the case of names does not count."""

    def __init__(self, env: Mapping[str, str]) -> None:
        super().__init__({name.upper(): value for name, value in env.items()})

    def get(self, name: str, default: Any = None) -> Any:
        return super().get(name.upper(), default)


def _interpolate(case: Case) -> Result:
    from base64 import b64encode

    from pipeseal.pipeline.interpolate import find_identifiers, interpolate_text
    from pipeseal.pipeline.values import pack, scrub

    given = case["input"]
    env: Mapping[str, str] = given.get("env") or {}
    if given.get("case_insensitive_env"):
        env = _CaseInsensitive(env)
    result: Result = {}
    try:
        result["identifiers"] = [scrub(name) for name in find_identifiers(given["text"])]
        expanded = interpolate_text(given["text"], env)
    except MalformedInput as error:
        return {**result, **_refused("interpolate", error)}
    return {**result, "ok": True, "result": scrub(expanded), "result_b64": b64encode(pack(expanded)).decode()}


def _matrix(case: Case) -> Result:
    from pipeseal.pipeline.matrix import interpolate_matrix
    from pipeseal.pipeline.parse import parse_command_step
    from pipeseal.pipeline.render import render_json, step_value

    given = case["input"]
    try:
        step = parse_command_step(given["step_raw"])
    except PipesealError as error:
        return _refused("decode", error)
    try:
        step = interpolate_matrix(step, given.get("permutation") or {})
    except PipesealError as error:
        return _refused("matrix", error)
    try:
        return {"ok": True, "json": render_json(step_value(step))}
    except MalformedInput as error:
        return _refused("marshal", error)


def _plugin_source(case: Case) -> Result:
    from pipeseal.pipeline.plugins import full_source

    return {"ok": True, "result": full_source(case["input"]["source"])}


_OWN_FAMILIES: Final[dict[str, Callable[[Case], Result]]] = {
    "parse": _parse,
    "scalars": _parse,
    "interpolate": _interpolate,
    "matrix": _matrix,
    "pluginsource": _plugin_source,
}


def find_family(family: str) -> Callable[[Case], Result] | None:
    """The function that runs one case of a family, or None when there is no such family."""
    if family in SIGNING_FAMILIES:
        from pipeseal.cli.conformance_signing import FAMILIES

        return FAMILIES.get(family)
    return _OWN_FAMILIES.get(family)


def run_case(run: Callable[[Case], Result], case: object) -> Result:
    """One case: its result, also when the case itself cannot be read.

    Parameters:
        run: a family's function.
        case: an item of the list that was read.
    """
    try:
        if not isinstance(case, dict):
            raise TypeError("a case is an object")
        return run(case)
    except PipesealError as error:
        return _refused("unexpected", error)
    except Exception as error:  # one case that cannot be read must not take the others with it
        return {"ok": False, "stage": "case", "code": "", "error": f"{type(error).__name__}: {error}"}


@click.command()
@click.argument("family", type=click.Choice([*_OWN_FAMILIES, *SIGNING_FAMILIES]))
def conformance(family: str) -> None:
    """Run conformance cases of FAMILY: a JSON list on standard input, a JSON list on standard output."""
    from pipeseal.pipeline.jsontext import decode_json
    from pipeseal.pipeline.yaml import Limits

    run = find_family(family)
    cases = decode_json(sys.stdin.buffer.read(), source="<stdin>", limits=Limits(max_bytes=MAX_BYTES))
    if run is None or not isinstance(cases, list):
        raise click.UsageError("standard input holds a JSON list of cases")
    results = [
        {"name": case.get("name") if isinstance(case, dict) else None, "result": run_case(run, case)}
        for case in cases
    ]
    json.dump(results, sys.stdout, ensure_ascii=True)
    sys.stdout.write("\n")
