"""JSON that cannot be read in two ways: for whatever a signature is compared with.

The ecosystem's reader takes the last of several members, rounds numbers to doubles and replaces broken text. Each of
these lets two texts become one value, and two readers make two values of one text.
"""

from __future__ import annotations

import re

from pipeseal.errors import MalformedInput
from pipeseal.pipeline.jsontext import decode_json
from pipeseal.pipeline.values import Value
from pipeseal.pipeline.yaml import DEFAULT_LIMITS, Limits

# Codes for text that is JSON to the ecosystem's reader, and is refused here all the same.
AMBIGUOUS = frozenset({"json.duplicate", "number.unsafe", "json.lost_text"})

_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|.)", re.DOTALL)


def decode_strict_json(data: bytes | str, *, source: str = "<json>", limits: Limits = DEFAULT_LIMITS) -> Value:
    """The generic value of a JSON text that has one meaning only (RFC 8259 section 4, RFC 7493 section 2).

    Parameters:
        data: one JSON value.
        source: its name, for positions.
        limits: what is refused for its size.

    Raises:
        MalformedInput: `json.duplicate`: a member given twice; `number.unsafe`: digits that a double does not keep;
            `json.lost_text`: text that reading would change; and what `decode_json` refuses (`json.syntax`, ...).
    """
    value = decode_json(data, source=source, refuse_duplicates=True, exact_numbers=True, limits=limits)
    lost = _find_lost_text(data)
    if lost:
        raise MalformedInput("json.lost_text", f"{source} holds {lost}", help="send text as valid UTF-8")
    return value


def _find_lost_text(data: bytes | str) -> str:
    """What in this valid JSON would be replaced by U+FFFD on reading; empty when nothing would."""
    try:
        text = data.decode() if isinstance(data, bytes) else data
        if "\\u" in text:
            # RFC 8259 section 7: characters beyond the first plane are two escapes, one right after the other.
            text = _ESCAPE.sub(lambda match: chr(int(match[1], 16)) if match[1] else " ", text)
            text.encode("utf-16", "surrogatepass").decode("utf-16")
        elif isinstance(data, str):
            text.encode()
    except UnicodeDecodeError as error:
        return "half of a surrogate pair" if error.encoding.startswith("utf-16") else "bytes that are not UTF-8"
    except UnicodeEncodeError:
        return "bytes that are not UTF-8"
    return ""
