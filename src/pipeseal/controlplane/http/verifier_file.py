"""The verifier in one file of HTML: the page's own modules and styles put together, so that it can be saved and kept.

It is the code that checks signatures on the pages. Saved to a disk it depends on no server, and its policy lets it
talk to none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

# Each after those it needs.
_MODULES: Final = (
    "dom.js",
    "trust/canonical.js",
    "trust/keycheck.js",
    "trust/jws.js",
    "trust/normal.js",
    "trust/seal.js",
    "trust/judge.js",
    "trust/states.js",
    "trust/words.js",
    "trust/whole.js",
    "trust/standalone.js",
)
_STYLES: Final = ("base.css", "parts.css", "trust/trust.css")
_START: Final = 'modules.standalone.startVerifier(document.getElementById("main"));'
_IMPORT: Final = re.compile(r'^import (\{[^}]*\}) from "\.{1,2}/(?:[\w-]+/)*(\w+)\.js";$', re.MULTILINE)
_EXPORT: Final = re.compile(r"^export ((?:async function|function|class|const) (\w+))", re.MULTILINE)


def render_verifier(template: str, files: Mapping[str, str]) -> str:
    """The whole file.

    Parameters:
        template: HTML with `/* styles */` and `/* scripts */` where they go.
        files: name below `/web/` to text.
    """
    scripts = "\n".join(["const modules = {};", *(_wrapped(name, files[name]) for name in _MODULES), _START])
    styles = "\n".join(files[name] for name in _STYLES)
    assert "</script" not in scripts
    assert "</style" not in styles
    return template.replace("/* styles */", styles).replace("/* scripts */", scripts)


def _wrapped(name: str, text: str) -> str:
    """A module as a function that runs at once: what it imports are constants, what it exports a property."""
    exports = ", ".join(match[2] for match in _EXPORT.finditer(text))
    body = _EXPORT.sub(r"\1", _IMPORT.sub(r"const \1 = modules.\2;", text))
    assert "\nimport " not in f"\n{body}", name
    stem = name.rpartition("/")[2].removesuffix(".js")
    return f"modules.{stem} = (() => {{\n{body}\nreturn {{ {exports} }};\n}})();"
