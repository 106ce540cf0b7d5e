"""Random pipelines that both sides must read, sign and verify alike; the same seed gives the same pipeline."""

from __future__ import annotations

import json
import re
from random import Random
from typing import Any

# Where encoders, canonicalisers and sort orders disagree: escapes, HTML characters, line separators, astral letters
# that sort differently as UTF-16 and as UTF-8, controls, combining marks.
_LETTERS = [
    *"abcXYZ012 _-./:#'\"\\{}[]<>&%",
    "é", "日", "\u0301", "\u2028", "\u2029", "\u007f", "\t", "\n", "\x01", "\ufffd", "\ufe0f", "𝒳", "😀", "\ue000",
]  # fmt: skip
_PLAIN = "abcdefghijklmnopqrstuvwxyz0123456789"
# Raw in JSON, but not in YAML: these are written as escapes.
_NOT_PRINTABLE = re.compile("[\x7f-\x84\x86-\x9f\u2028\u2029\ufeff\ufffe\uffff]")


def random_pipeline(seed: int, steps: int = 12) -> str:
    """A pipeline of `steps` steps as JSON text (which is YAML too), without interpolation and without unknown steps.

    Parameters:
        seed: chooses everything.
    """
    random = Random(seed)
    pipeline: dict[str, Any] = {"steps": [_step(random, number) for number in range(steps)]}
    if random.random() < 0.7:
        pipeline["env"] = {f"PIPELINE_{_name(random)}": _text(random) for _ in range(random.randrange(5))}
    return render_yaml_json(pipeline)


def render_yaml_json(value: Any) -> str:
    """`value` as JSON that YAML 1.1 readers take for the same value (no surrogate escapes, no raw controls)."""
    text = json.dumps(value, ensure_ascii=False)
    return _NOT_PRINTABLE.sub(lambda found: f"\\u{ord(found.group()):04x}", text)


def _step(random: Random, number: int) -> Any:
    kind = random.random()
    if kind < 0.08:
        return random.choice(["wait", {"wait": None, "continue_on_failure": True}])
    if kind < 0.14:
        return {"block": _text(random), "fields": [{"text": _text(random), "key": _name(random)}]}
    if kind < 0.2:
        return {"group": _text(random), "steps": [_command(random, number * 100 + inner) for inner in range(3)]}
    return _command(random, number)


def _command(random: Random, number: int) -> dict[str, Any]:
    step: dict[str, Any] = {"key": f"step-{number}", "label": _text(random)}
    commands = [_text(random) for _ in range(random.randrange(1, 4))]
    step[random.choice(["command", "commands"])] = commands if random.random() < 0.7 else commands[0]
    if random.random() < 0.6:
        step["env"] = {
            f"{_name(random).upper()}_{index}": random.choice([_text(random), random.randrange(99), True, None, 1.5])
            for index in range(random.randrange(1, 6))
        }
    if random.random() < 0.5:
        step["plugins"] = [_plugin(random) for _ in range(random.randrange(1, 4))]
    if random.random() < 0.3:
        step["matrix"] = _matrix(random)
    if random.random() < 0.3:
        step["secrets"] = [f"SECRET_{index}_{_name(random).upper()}" for index in range(random.randrange(1, 4))]
    if random.random() < 0.2:
        step["checkout"] = {"depth": random.randrange(1, 99), "submodules": random.random() < 0.5}
    if random.random() < 0.5:
        step["agents"] = {"queue": _name(random)}
        step["retry"] = {"automatic": [{"exit_status": random.randrange(-1, 255), "limit": 2}]}
    return step


def _plugin(random: Random) -> Any:
    source = random.choice(
        ["docker#v5.13.0", "acme/tool#v1", "./.buildkite/plugins/local", "https://git.example.com/p.git#v2", "cache"]
    )
    return source if random.random() < 0.2 else {source: _config(random, 3)}


def _config(random: Random, depth: int) -> Any:
    """Generic data: every JSON type, integers up to 2^53, doubles that print in all of their forms."""
    kind = random.randrange(9 if depth else 6)
    if kind == 0:
        return random.choice([None, True, False])
    if kind == 1:
        return random.choice([0, 1, -1, 2**31, 2**53 - 1, -(2**53) + 1, random.randrange(10**6)])
    if kind == 2:
        return random.choice([0.5, -1.25, 1e-7, 1.5e300, 123456789.125, 0.1, 1e-300, 3.0e-5])
    if kind <= 5:
        return _text(random)
    if kind == 6:
        return [_config(random, depth - 1) for _ in range(random.randrange(4))]
    return {_text(random) + str(index): _config(random, depth - 1) for index in range(random.randrange(4))}


def _matrix(random: Random) -> Any:
    values = [_name(random) + str(index) for index in range(random.randrange(1, 4))]
    if random.random() < 0.3:
        return values
    setup = {"os": values, "arch": [f"{value}-{_name(random)}" for value in values]}
    matrix: dict[str, Any] = {"setup": setup}
    if random.random() < 0.5:
        combination = {"os": random.choice(values), "arch": f"extra-{_name(random)}"}
        matrix["adjustments"] = [{"with": combination, "soft_fail": random.random() < 0.5}]
    return matrix


def _name(random: Random) -> str:
    return "".join(random.choices(_PLAIN[:26], k=1) + random.choices(_PLAIN, k=random.randrange(1, 8)))


def _text(random: Random) -> str:
    """Text of up to a dozen characters that are hard to agree on; at least one, since some names may not be empty."""
    return "".join(random.choices(_LETTERS, k=random.randrange(1, 13)))
