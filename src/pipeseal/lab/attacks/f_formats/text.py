"""What JSON can say in more than one way: numbers, repeated members, text, types."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from pipeseal.lab import lies
from pipeseal.lab.attacks.f_formats.changed import CP
from pipeseal.lab.honest import JobDocument
from pipeseal.lab.scenario import Attempt, JobLie, Scenario, Stops

if TYPE_CHECKING:
    from pipeseal.lab.ground import Ground

_NUMBER_CODES = (
    "signature.mismatch", "number.unsafe", "number.range", "plugins.differ", "json.syntax", "seal.differs",
)  # fmt: skip
_TEXT_CODES = (
    "job.ambiguous", "json.lost_text", "json.syntax", "signature.mismatch", "payload.value", "environment.value",
    "environment.differs",
)  # fmt: skip


def _text(job: JobDocument) -> str:
    return json.dumps(job)


def _replacing(old: str, new: str) -> JobLie:
    """Other bytes of the job's JSON."""

    def lie(job: JobDocument) -> bytes:
        text = _text(job)
        assert old in text, f"{old} is not in the job"
        return text.replace(old, new, 1).encode("utf-8", "surrogatepass")

    return lie


def _numbers(_ground: Ground) -> list[Attempt]:
    """A number of a plugin's configuration, written otherwise: in the variable alone, and everywhere."""
    honest = "9007199254740991"

    def everywhere(number: str) -> JobLie:
        return lambda job: _text(job).replace(honest, number).encode()

    other = [
        Attempt(lie, f"{number}, {where}", job=job)
        for number in ("9007199254740992", "9007199254740993", "1e400")
        for where, lie in (("in the variable", _replacing(honest, number)), ("everywhere", everywhere(number)))
        for job in ("bound", "sealed")
    ]
    # The same number: then it reaches the plugin as it was signed.
    same = [
        Attempt(lie, f"{number}, {where}", job=job, stops=Stops.NEVER)
        for number in ("9007199254740991.0", "9.007199254740991e15", "900719925474099100E-2")
        for where, lie in (("in the variable", _replacing(honest, number)), ("everywhere", everywhere(number)))
        for job in ("bound", "sealed")
    ]
    return other + same


def _duplicates(ground: Ground) -> list[Attempt]:
    evil = json.dumps(str(ground.evil))

    def doubled_plugin(job: JobDocument) -> JobDocument:
        text = job["env"]["BUILDKITE_PLUGINS"].replace('{"text":"checked"', '{"text":"other","text":"checked"', 1)
        return lies.set_env(BUILDKITE_PLUGINS=text)(job)

    return [
        *(
            Attempt(_replacing('"command": ', f'"command": {evil}, "command": '), "in the step", job=job)
            for job in ("bound", "sealed")
        ),
        Attempt(_replacing('"step": ', '"step": {"command": "x"}, "step": '), "the step"),
        Attempt(_replacing('"env": ', '"Env": {"BUILDKITE_COMMAND": "x"}, "env": '), "in another case"),
        Attempt(_replacing('"SAFETY": ', '"SAFETY": "off", "SAFETY": '), "a variable"),
        Attempt(doubled_plugin, "in BUILDKITE_PLUGINS"),
    ]


def _broken_text(_ground: Ground) -> list[Attempt]:
    return [
        Attempt(_replacing('"SAFETY": "on"', f'"SAFETY": "{text}"'), what, job=job)
        for what, text in (
            ("lone surrogate", "on\\ud800"),
            ("lone surrogate, written as bytes", "on\ud800"),
            ("NUL", "on\\u0000"),
        )
        for job in ("bound", "sealed")
    ] + [
        Attempt(lambda job: _text(job).encode().replace(b'"on"', b'"on\xff"'), "invalid UTF-8"),
        Attempt(lambda job: _text(job).encode("utf-16"), "UTF-16"),
    ]


def _normalised(_ground: Ground) -> list[Attempt]:
    """Characters that look alike or compose: text is compared byte for byte."""

    def everywhere(old: str, new: str) -> JobLie:
        return lambda job: json.loads(_text(job).replace(old, new))

    pairs = (("scripts/test", "scripts/te\u0455t"), ("scripts/test", "scripts/test\u200b"), ("on", "\u202eno"))
    return [Attempt(everywhere(old, new), ascii(new), job=job) for old, new in pairs for job in ("bound", "sealed")]


def _types(_ground: Ground) -> list[Attempt]:
    return [
        Attempt(lies.set_env(SAFETY=value), f"a variable that is {value!r}")  # type: ignore[arg-type]  # the attack
        for value in (True, 1, 1.5, ["on"], {"on": 1})
    ] + [
        Attempt(lies.set_job(**{name: value}), f"{name} that is {value!r}")
        for name, value in (
            ("env", [["SAFETY", "on"]]),
            ("env", "SAFETY=on"),
            ("step", [1]),
            ("step", "scripts/test"),
            ("id", 7),
            ("token", ["t"]),
            ("matrix_permutation", ["alpine"]),
            ("chunks_max_size_bytes", "100"),
            ("chunks_interval_seconds", 1.5),
            ("priority", True),
        )
    ]


def _command_types(_ground: Ground) -> list[Attempt]:
    """Where the format lets a command be written in several ways, one of them was signed."""
    return [
        Attempt(lies.set_step(command=None, commands=["scripts/test", "evil"]), "a list", job="bound"),
        Attempt(lies.set_step(command=["scripts/test", "evil"]), "a list of two"),
        Attempt(
            lies.set_step(commands="evil"), "both", codes=("signature.mismatch", "seal.differs", "step.malformed")
        ),
        Attempt(lies.set_step(command={"x": 1}), "a mapping", codes=("step.malformed", "signature.mismatch")),
        Attempt(lies.set_step(env={"SAFETY": ["on"]}), "a variable", codes=("step.malformed", "signature.mismatch")),
    ]


SCENARIOS = (
    Scenario(
        id="F08",
        title="Numbers that are not what was signed",
        actors=CP,
        change="`9007199254740991` in a plugin's configuration, as `...992`, `...993`, `...991.0` and `9.007...e15`",
        happens="another number is refused; the same one in other spelling reaches the plugin as it was signed",
        codes=_NUMBER_CODES,
        attempts=_numbers,
    ),
    Scenario(
        id="F09",
        title="Members written twice",
        actors=CP,
        change="a member of the job, the step or a plugin twice, or again in other case",
        happens="a text that can be read in two ways is refused, whatever it says",
        codes=("job.ambiguous", "plugins.differ"),
        attempts=_duplicates,
    ),
    Scenario(
        id="F10",
        title="Text that is none",
        actors=CP,
        change="lone surrogates, invalid UTF-8, NUL, other encodings",
        happens="refused before anything is compared",
        codes=_TEXT_CODES,
        attempts=_broken_text,
    ),
    Scenario(
        id="F11",
        title="Characters that look alike",
        actors=CP,
        change="other letters, joining and direction characters in command and variables",
        happens="text is compared byte for byte",
        codes=("signature.mismatch",),
        attempts=_normalised,
    ),
    Scenario(
        id="F16",
        title="Values of another type",
        actors=CP,
        change="variables that are numbers, lists or mappings; a command that is a list or a mapping",
        happens="no value is made into another; a command written in another way is another one",
        codes=("job.malformed", "signature.mismatch", "step.malformed", "command.differs"),
        attempts=lambda ground: [*_types(ground), *_command_types(ground)],
    ),
)
