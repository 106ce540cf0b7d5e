"""Write the reference pages that are made from tables in the code, so that they cannot lie.

make docs            write them
docs/generate.py -c  say which are out of date, and exit with 1 if any is (the tests do this)
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeseal.errors.codes import CODES
from pipeseal.policy.environment import TABLE, HandOver
from pipeseal.policy.file import RECORD_KEYS, SECTION_KEYS, SHARED_KEYS, TOP_KEYS
from pipeseal.policy.forbidden import families
from pipeseal.policy.tables import Key
from pipeseal.signer import config as signer
from pipeseal.signing.bindings import BINDINGS
from pipeseal.signing.fields import FIELDS

if TYPE_CHECKING:
    from pipeseal.lab.scenario import Scenario
    from pipeseal.lab.undrilled import Undrilled

REFERENCE = Path(__file__).parent / "reference"
TEMPLATES = Path(__file__).parent / "templates"


def refusals_page() -> str:
    """`refusals.md`: every code, its meaning, causes and what to do."""
    parts = [
        "# Codes\n",
        "Every error and every refusal carries one of these codes; `pipeseal explain CODE` prints the same text\n"
        "offline. Codes are stable and never used again for something else. This page is generated from the table\n"
        "in the code.\n",
    ]
    # Rows stand in the order of the checks; a page is read by group.
    for group in dict.fromkeys(row.code.split(".")[0] for row in CODES):
        parts.append(f"## {group}\n")
        for row in CODES:
            if row.code.startswith(f"{group}."):
                parts += [f"### `{row.code}`: {row.title}\n", f"{row.meaning}\n"]
                parts.append("Likely causes, harmless ones first:\n")
                parts.append("\n".join(f"{n}. {cause}" for n, cause in enumerate(row.causes, 1)) + "\n")
                parts.append(f"What to do: {row.fix}\n")
    return "\n".join(parts)


def signed_fields_page() -> str:
    """`signed-fields.md`: what a signature covers, and what it can bind a step to."""
    parts = [
        "# What a signature covers\n",
        "A step's signature lists the fields it covers in `signed_fields`. Whatever is not in these tables is not\n"
        "covered: label, key, agents, conditions, retries, timeouts, artifacts, cache. This page is generated from\n"
        "the tables in the code.\n",
        "## Fields\n",
        "| field | must be covered | how a job is compared with it |\n| --- | --- | --- |",
        *(f"| `{row.name}` | {row.mandatory} | {row.compared} |" for row in FIELDS),
        "| `env::NAME` | when listed | the signature is checked with the job's own `NAME`, which must be there |\n",
        "## Bindings\n",
        "Variables that say where a step may run. A signature made at upload binds those that the uploading job has\n"
        "itself; one made by `tool sign` binds what it is told, of the rows that stay the same in every build. A\n"
        "step bound to a build is bound to its own key too. Every agent that verifies signatures enforces them;\n"
        "without them, a signed step can be run again in any job of the same repository.\n",
        "| variable | the step runs for | an empty value | outside a build |\n| --- | --- | --- | --- |",
        *(
            f"| `{row.name}` | {row.meaning} | {'is bound' if row.empty_counts else 'is left out'} "
            f"| {'yes' if row.static else 'no'} |"
            for row in BINDINGS
        ),
        "",
    ]
    return "\n".join(parts)


def policy_page() -> str:
    """`policy.md`: the policy file, key by key, and the table of server variables; prose from a template."""
    words = {HandOver.VARIABLE: "as a variable", HandOver.FILE: "as a file", HandOver.NEVER: "no"}
    variables = [(f"`{row.name}`", row.kind.value, row.type.name, words[row.hand_over], row.meaning) for row in TABLE]
    parts = {
        "shared_keys": _keys(SHARED_KEYS),
        "top_keys": _keys({name: row for name, row in TOP_KEYS.items() if name not in SHARED_KEYS}),
        "section_keys": _keys({name: row for name, row in SECTION_KEYS.items() if name not in SHARED_KEYS}),
        "record_keys": _keys(RECORD_KEYS),
        "variables": _table(("variable", "kind", "form", "reaches the job", "what it is"), variables),
        "forbidden": _table(("names", "why"), families()),
    }
    return _filled("policy.tmpl", parts)


def signer_page() -> str:
    """`signer.md`: the signer's file, key by key; prose from a template."""
    return _filled("signer.tmpl", {"top_keys": _keys(signer.TOP_KEYS), "upload_keys": _keys(signer.UPLOAD_KEYS)})


def _filled(template: str, parts: dict[str, str]) -> str:
    text = (TEMPLATES / template).read_text(encoding="utf-8")
    for name, part in parts.items():
        text = text.replace(f"{{{name}}}", part)
    return text


def _keys(rows: dict[str, Key]) -> str:
    return _table(
        ("key", "value", "meaning"),
        [(f"`{name}`", row.kind.replace("|", " or "), row.meaning) for name, row in rows.items()],
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def openapi_page() -> str:
    """`openapi.json`: the description of the control plane's HTTP API, as the server serves it."""
    from pipeseal.controlplane.http.openapi.document import make_document

    return json.dumps(make_document(), indent=1, ensure_ascii=False) + "\n"


def _verifier_digest() -> str:
    from hashlib import sha256

    from pipeseal.controlplane.http.pages import VERIFIER, load_assets

    return sha256(load_assets()[VERIFIER].content).hexdigest()


def verifier_page() -> str:
    """`verifier.md`: the one-file verifier and its digest; prose from a template."""
    return _filled("verifier.tmpl", {"digest": _verifier_digest()})


def verifier_checksum() -> str:
    """`verify.html.sha256`: the same digest, as `sha256sum` reads it."""
    return f"{_verifier_digest()}  verify.html\n"


ACTORS = {
    "CP": "the control plane, or whoever owns it",
    "MITM": "the network",
    "UI": "somebody who may use the control plane's pages",
    "PR": "the author of a pull request",
    "PLG": "the author of a plugin or an image",
    "RUN": "a runner that somebody has taken over",
    "KEY": "whoever has a key that leaked",
}


def attacks_page() -> str:
    """`attacks.md`: every attack, of the drill from its registry, the others from theirs; prose from a template."""
    from pipeseal.lab import undrilled
    from pipeseal.lab.attacks import GROUPS, SCENARIOS

    groups = {**GROUPS, **undrilled.GROUPS}
    sections: list[str] = []
    counts = []
    for letter in sorted(groups):
        tried = {one.id: _tried(one) for one in SCENARIOS if one.group == letter}
        others = [one for one in undrilled.UNDRILLED if one.group == letter]
        texts = tried | {one.id: _untried(one) for one in others}
        sections += [f"## {letter}: {groups[letter]}\n", *(texts[name] for name in sorted(texts))]
        standings = [sum(one.standing is standing for one in others) for standing in undrilled.Standing]
        numbers = [str(number or "") for number in (len(tried), *standings)]
        title = f"{letter}: {groups[letter]}"
        counts.append((f"[{title}](#{_anchor(title)})", *numbers))
    totals = [sum(int(row[column] or 0) for row in counts) for column in range(1, 5)]
    counts.append(("all", *(str(number) for number in totals)))
    head = ("group", "tried by the drill", "refused, shown elsewhere", "succeed in part", "succeed")
    return _filled(
        "attacks.tmpl",
        {
            "actors": "".join(f"- {words}\n" for words in ACTORS.values()),
            "counts": _table(head, counts),
            "groups": "\n".join(sections),
            "count": str(len(SCENARIOS)),
            "others": str(len(undrilled.UNDRILLED)),
        },
    )


def _tried(scenario: Scenario) -> str:
    """The section of an attack that the drill tries."""
    parts = [
        f"### {scenario.id}: {scenario.title}\n",
        f"- **Who**: {'; '.join(ACTORS[actor] for actor in scenario.actors)}",
        f"- **Changes**: {scenario.change}",
        f"- **What happens**: {scenario.happens or f'not shown yet: {scenario.not_yet}'}",
        f"- **Code**: {_code_links(scenario.codes) or 'none; nothing has to be refused'}",
        *([f"- **Your settings**: {scenario.setting}"] if scenario.setting else []),
    ]
    return "\n".join(parts) + "\n"


def _untried(attack: Undrilled) -> str:
    """The section of an attack that the drill does not try."""
    parts = [
        f"### {attack.id}: {attack.title}\n",
        f"- **Who**: {'; '.join(ACTORS[actor] for actor in attack.actors)}",
        f"- **Changes**: {attack.change}",
        f"- **Today**: **{attack.standing.value}**. {_sentence(attack.happens)}",
        *([f"- **Code**: {_code_links(attack.codes)}"] if attack.codes else []),
        f"- **What limits it**: {attack.limits}",
        f"- **Meanwhile**: {attack.meanwhile}",
    ]
    return "\n".join(parts) + "\n"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _code_links(codes: Iterable[str]) -> str:
    titles = {row.code: row.title for row in CODES}
    return ", ".join(_code_link(code, titles[code]) for code in codes)


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def _code_link(code: str, title: str) -> str:
    return f"[`{code}`](../reference/refusals.md#{_anchor(f'{code}: {title}')})"


def cli_page() -> str:
    """`cli.md`: every command with its options."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from docs.cli_reference import render_cli

    return render_cli()


PAGES: dict[str, Callable[[], str]] = {
    "cli.md": cli_page,
    "../security/attacks.md": attacks_page,
    "refusals.md": refusals_page,
    "signed-fields.md": signed_fields_page,
    "policy.md": policy_page,
    "signer.md": signer_page,
    "openapi.json": openapi_page,
    "verifier.md": verifier_page,
    "verify.html.sha256": verifier_checksum,
}


def main(arguments: list[str]) -> int:
    """Write the pages, or with `-c` only compare them."""
    stale = []
    for name, render in PAGES.items():
        path, text = REFERENCE / name, render()
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(name)
            if "-c" not in arguments:
                path.write_text(text, encoding="utf-8")
    for name in stale:
        sys.stdout.write(f"{'out of date' if '-c' in arguments else 'wrote'}: docs/reference/{name}\n")
    return 1 if stale and "-c" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
