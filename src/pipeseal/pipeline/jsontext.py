"""From JSON text to generic values, with the number types, duplicates and replacements that received steps have.

Two modes: the reference's own (a repeated member replaces the earlier one, in its place) and a strict one that
refuses repeated members, for input where two readers must not disagree.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from json import JSONDecodeError, JSONDecoder
from typing import Final, NoReturn

from pipeseal.errors import MalformedInput, PipesealError, Position
from pipeseal.pipeline.values import MAX_INT64, MAX_SAFE_INTEGER, MIN_INT64, Value, float_text
from pipeseal.pipeline.yaml import DEFAULT_LIMITS, Limits, check_size

_SPACE: Final = re.compile(r"[ \t\n\r]*")  # RFC 8259 2
_NESTING: Final = re.compile(r'"(?:[^"\\]|\\.)*"?|[\[{]|[\]}]', re.DOTALL)
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_SURROGATE_ESCAPE: Final = re.compile(r"\\u[dD][89a-fA-F]")
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?", re.ASCII)


class _OutOfRange(Exception):
    """A number token that no double holds, or that no double holds exactly where that is asked for."""

    def __init__(self, code: str, token: str) -> None:
        super().__init__(token)
        self.code = code
        self.token = token


class _Repeated(Exception):
    """An object with a member given twice."""


def _integer(token: str) -> int | float:
    # A sign and the 19 digits of 64 bits; Python refuses to convert very long ones, so look at the size first.
    if len(token) <= 20:
        number = int(token)
        if MIN_INT64 <= number <= MAX_INT64:
            return number
    return _number(token)


def _number(token: str) -> int | float:
    number = float(token)
    if number in (float("inf"), float("-inf")):
        raise _OutOfRange("number.range", token)
    if number == int(number) and -(2.0**63) <= number <= 2.0**63:
        # A double with integral value becomes an integer again. 2**63 itself wraps round, as on amd64.
        integer = int(number)
        return integer if integer <= MAX_INT64 else MIN_INT64
    return number


def _exactly(parse: Callable[[str], int | float]) -> Callable[[str], int | float]:
    """A number parser that refuses tokens which say more digits than their double keeps."""

    def parse_exactly(token: str) -> int | float:
        from decimal import Decimal, InvalidOperation

        number = parse(token)
        try:
            exact = Decimal(token) == Decimal(repr(number))
        except InvalidOperation:  # an exponent beyond all measure
            exact = False
        if not exact:
            raise _OutOfRange("number.unsafe", token)
        return number

    return parse_exactly


def _constant(_name: str) -> NoReturn:
    raise ValueError("NaN and Infinity are not JSON")


def _text(text: str) -> str:
    return _SURROGATE.sub("\ufffd", text)


def _last_wins(pairs: list[tuple[str, Value]]) -> dict[str, Value]:
    return {_text(key): value for key, value in pairs}


def _once(pairs: list[tuple[str, Value]]) -> dict[str, Value]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _Repeated(_first_repeated([key for key, _ in pairs]))
    return members


def _doubtful_once(pairs: list[tuple[str, Value]]) -> dict[str, Value]:
    return _once([(_text(key), value) for key, value in pairs])


def _first_repeated(keys: list[str]) -> str:
    from collections import Counter

    return next(key for key, count in Counter(keys).items() if count > 1)


def _scanner(*, once: bool, doubtful: bool, exact: bool) -> Callable[[str, int], tuple[Value, int]]:
    hook: Callable[[list[tuple[str, Value]]], dict[str, Value]] | None = None
    if once:
        hook = _doubtful_once if doubtful else _once
    elif doubtful:
        hook = _last_wins
    decoder = JSONDecoder(
        parse_int=_exactly(_integer) if exact else _integer,
        parse_float=_exactly(_number) if exact else _number,
        parse_constant=_constant,
        object_pairs_hook=hook,
    )
    return decoder.raw_decode


# By what the text needs: repeated members refused, lone surrogates replaced, numbers exact.
_SCANNERS: Final = {
    (once, doubtful, exact): _scanner(once=once, doubtful=doubtful, exact=exact)
    for once in (False, True)
    for doubtful in (False, True)
    for exact in (False, True)
}


def _position(source: str, text: str, index: int) -> Position:
    start = text.rfind("\n", 0, index) + 1
    end = text.find("\n", index)
    line = text[start : end if end >= 0 else len(text)]
    return Position(source, text.count("\n", 0, index) + 1, index - start + 1, line.rstrip("\r"))


def _check_depth(text: str, source: str, limits: Limits) -> None:
    if text.count("[") + text.count("{") <= limits.max_depth:
        return
    depth = 0
    for match in _NESTING.finditer(text):
        sign = match[0]
        if sign in ("[", "{"):
            depth += 1
            if depth > limits.max_depth:
                raise MalformedInput(
                    "input.too_deep",
                    f"values are nested more than {limits.max_depth} deep here",
                    position=_position(source, text, match.start()),
                )
        elif sign in ("]", "}"):
            depth -= 1


def _replace_surrogates(value: Value) -> Value:
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, list):
        return [_replace_surrogates(item) for item in value]
    if isinstance(value, dict):
        return {_text(key): _replace_surrogates(item) for key, item in value.items()}
    return value


def decode_json(
    data: bytes | str,
    *,
    source: str = "<json>",
    refuse_duplicates: bool = False,
    exact_numbers: bool = False,
    limits: Limits = DEFAULT_LIMITS,
) -> Value:
    """The generic value of a JSON text (RFC 8259), typed as the reference types it.

    A number is an integer when it is one of 64 bits, however it is written (`1.0` and `1e3` are integers); else a
    double. Lone surrogates and bytes that are not UTF-8 become U+FFFD.

    Parameters:
        data: one JSON value; nothing may follow it but white space.
        source: its name, for positions.
        refuse_duplicates: refuse objects that give a member twice; else the last value counts, in the first's place.
        exact_numbers: refuse numbers with digits that a double does not keep.
        limits: what is refused.

    Raises:
        MalformedInput: `json.syntax`, `json.duplicate`, `number.range`, `number.unsafe`, `input.too_large`,
            `input.too_deep`.
    """
    if isinstance(data, bytes):
        check_size(data, limits, source)
        try:
            text = data.decode()
        except UnicodeDecodeError:
            text = data.decode("utf-8", "surrogateescape")
    else:
        if len(data) * 4 > limits.max_bytes:
            check_size(data.encode("utf-8", "surrogatepass"), limits, source)
        text = data
    _check_depth(text, source, limits)
    # Only an escape or bad bytes bring in lone surrogates, and only then do values need a second look.
    doubtful = _SURROGATE_ESCAPE.search(text) is not None or (
        not text.isascii() and _SURROGATE.search(text) is not None
    )
    scan = _SCANNERS[refuse_duplicates, doubtful, exact_numbers]
    start = _end_of_space(text, 0)
    try:
        value, end = scan(text, start)
    except JSONDecodeError as error:
        message = error.msg[:1].lower() + error.msg[1:]
        raise _syntax(message, source, text, error.pos) from None
    except _OutOfRange as error:
        raise _number_error(error, source, text) from None
    except _Repeated as error:
        raise MalformedInput(
            "json.duplicate", f"an object gives the member `{error}` twice", evidence={"source": source}
        ) from None
    except (ValueError, RecursionError) as error:
        raise MalformedInput("json.syntax", f"this is not JSON: {error}", evidence={"source": source}) from None
    end = _end_of_space(text, end)
    if end != len(text):
        raise _syntax("there is something after the value", source, text, end)
    return _replace_surrogates(value) if doubtful else value


def _end_of_space(text: str, start: int) -> int:
    match = _SPACE.match(text, start)
    return match.end() if match else start


def _syntax(message: str, source: str, text: str, index: int) -> MalformedInput:
    return MalformedInput("json.syntax", message, position=_position(source, text, min(index, len(text))))


def _number_error(error: _OutOfRange, source: str, text: str) -> MalformedInput:
    place = next((m.start() for m in _NUMBER.finditer(text) if m[0] == error.token), 0)
    token = error.token if len(error.token) <= 60 else error.token[:57] + "..."
    if error.code == "number.range":
        message = f"the number {token} is larger than a double can be"
    else:
        message = f"the number {token} has digits that a double does not keep"
    return MalformedInput(error.code, message, position=_position(source, text, place))


def check_safe_numbers(
    value: Value, *, where: Sequence[str | int] = (), error: type[PipesealError] = MalformedInput
) -> None:
    """Refuse integers beyond 2**53, since canonical JSON writes several of them alike (RFC 8785 3.2.2.3, appendix D).

    Parameters:
        value: a generic value.
        where: its path, for the message.
        error: the family to raise: `MalformedInput` when signing, `VerificationError` when verifying.

    Raises:
        MalformedInput, or the family asked for: `number.unsafe`.
    """
    if _all_safe(value):
        return
    if isinstance(value, int):
        place = f" in `{show_path(where)}`" if where else ""
        raise error(
            "number.unsafe",
            f"the number {value}{place} is written {float_text(float(value))} when signed, like its neighbours",
            help="Quote it, so that it is text.",
        )
    for key, item in enumerate(value) if isinstance(value, list) else value.items():
        check_safe_numbers(item, where=(*where, key), error=error)


def _all_safe(value: Value) -> bool:
    if isinstance(value, dict):
        return all(map(_all_safe, value.values()))
    if isinstance(value, list):
        return all(map(_all_safe, value))
    return type(value) is not int or -MAX_SAFE_INTEGER <= value <= MAX_SAFE_INTEGER


def show_path(path: Sequence[str | int]) -> str:
    """A path of keys and indices as people write it: `steps[2].env.REGION`."""
    shown = ""
    for part in path:
        shown += f"[{part}]" if isinstance(part, int) else (f".{part}" if shown else part)
    return shown
