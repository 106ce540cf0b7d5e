"""Reading a seal: every member known, required and of its kind, and every byte as it would be written again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import orjson

from pipeseal.errors import MalformedInput, VerificationError
from pipeseal.pipeline.commandstep import parse_checkout
from pipeseal.pipeline.object_id import is_object_id
from pipeseal.pipeline.render import checkout_value
from pipeseal.pipeline.steps import Checkout
from pipeseal.pipeline.values import MAX_SAFE_INTEGER
from pipeseal.pipeline.yaml import Limits
from pipeseal.signing.payload import render_canonical
from pipeseal.signing.seal.envelope import (
    MAX_SEAL_CHARACTERS,
    TYPE,
    VARIABLE,
    VERSION,
    Audience,
    BuildFacts,
    Inherited,
    Parent,
    Seal,
    payload_digest,
)
from pipeseal.signing.seal.jws import SealJws, parse_seal_jws
from pipeseal.signing.seal.members import (
    MAX_COUNT,
    check_rest,
    resolved_plugins,
    seal_step,
    step_of,
)
from pipeseal.signing.strictjson import decode_strict_json

_LIMITS: Final = Limits(max_bytes=MAX_SEAL_CHARACTERS)
_DIGEST_CHARACTERS: Final = 64


class Kind(NamedTuple):
    """What a member may be.

    Parameters:
        words: the kind, for errors and for the table in the docs.
        allows: whether a value is of this kind; members of objects are checked on their own.
    """

    words: str
    allows: Callable[[Any], bool]


def _is_text(value: Any) -> bool:
    return type(value) is str


def _is_name(value: Any) -> bool:
    return type(value) is str and value != ""


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= MAX_COUNT


def _is_time(value: Any) -> bool:
    return type(value) is int and 0 <= value <= MAX_SAFE_INTEGER


def _is_digest(value: Any) -> bool:
    return type(value) is str and len(value) == _DIGEST_CHARACTERS and is_object_id(value)


def _is_texts(value: Any) -> bool:
    return type(value) is list and all(map(_is_text, value))


def _is_variables(value: Any) -> bool:
    return type(value) is dict and all(map(_is_text, value.values())) and VARIABLE not in value


def _or_null(kind: Kind) -> Kind:
    return Kind(f"{kind.words}, or null", lambda value: value is None or kind.allows(value))


TEXT: Final = Kind("text", _is_text)
NAME: Final = Kind("text that is not empty", _is_name)
TEXTS: Final = Kind("a list of texts", _is_texts)
VARIABLES: Final = Kind("an object of texts", _is_variables)
COUNT: Final = Kind(f"an integer from 0 to {MAX_COUNT}", _is_count)
POSITIVE: Final = Kind(f"an integer from 1 to {MAX_COUNT}", lambda value: _is_count(value) and value > 0)
TIME: Final = Kind("seconds since 1970", _is_time)
OBJECT_ID: Final = Kind("a full object id in lower case", lambda value: _is_text(value) and is_object_id(value))
DIGEST: Final = Kind("SHA-256 in lower-case hex", _is_digest)
OBJECT: Final = Kind("an object", lambda value: type(value) is dict)
LIST: Final = Kind("a list", lambda value: type(value) is list)
BOOLEAN: Final = Kind("a boolean", lambda value: type(value) is bool)
NOTHING_YET: Final = Kind("an empty list", lambda value: value == [])
EXECUTION: Final = Kind("`shell` or `script`", lambda value: value in ("shell", "script"))

Schema = Mapping[str, Kind]

ENVELOPE: Final[Schema] = {
    "attempts": POSITIVE,
    "audience": OBJECT,
    "build": _or_null(OBJECT),
    "exclusive": BOOLEAN,
    "expires": _or_null(TIME),
    "gates": NOTHING_YET,
    "inherited": OBJECT,
    "not_before": TIME,
    "parent": OBJECT,
    "step": OBJECT,
    "type": Kind(f"`{TYPE}`", lambda value: value == TYPE),
    "version": Kind(f"{VERSION}", lambda value: type(value) is int and value == VERSION),
}
AUDIENCE: Final[Schema] = {
    "agents": Kind(
        "a list of texts `tag=value`, sorted, each once",
        lambda value: _is_texts(value) and value == sorted(set(value)) and all("=" in rule for rule in value),
    ),
    "organization": _or_null(NAME),
    "pipeline": _or_null(NAME),
    "repository": TEXT,
}
BUILD: Final[Schema] = {
    "branch": _or_null(TEXT),
    "commit": _or_null(OBJECT_ID),
    "id": _or_null(NAME),
    "pull_request": _or_null(TEXT),
    "tag": _or_null(TEXT),
    "tree": _or_null(OBJECT_ID),
}
PARENT: Final[Schema] = {"position": COUNT, "seal": _or_null(DIGEST), "upload": _or_null(NAME)}
INHERITED: Final[Schema] = {"checkout": _or_null(OBJECT), "env": VARIABLES}
STEP: Final[Schema] = {
    "artifact_paths": TEXTS,
    "cache": Kind("an object, false or null", lambda value: value is None or value is False or type(value) is dict),
    "checkout": _or_null(OBJECT),
    "command": TEXT,
    "env": VARIABLES,
    "execution": EXECUTION,
    "key": TEXT,
    "label": TEXT,
    "matrix": Kind("a list, an object or null", lambda value: value is None or type(value) in (list, dict)),
    "parallelism": _or_null(COUNT),
    "plugins": LIST,
    "rest": OBJECT,
    "secrets": LIST,
    "timeout_in_minutes": _or_null(POSITIVE),
}
PLUGIN: Final[Schema] = {
    "commit": _or_null(OBJECT_ID),
    "config": _or_null(TEXT),
    "source": TEXT,
    "tree": _or_null(OBJECT_ID),
}
SECRET: Final[Schema] = {"environment_variable": _or_null(TEXT), "key": NAME}


def parse_seal(text: str) -> Seal:
    """A seal, read and not verified.

    Parameters:
        text: the compact JWS.

    Raises:
        MalformedInput: `seal.too_large`, `seal.malformed`, `seal.type`, `seal.header`, `seal.json`, `seal.canonical`,
            `seal.version`, `seal.member`.
    """
    return parse_payload(text, parse_seal_jws(text))


def parse_payload(text: str, jws: SealJws) -> Seal:
    """The seal inside a JWS.

    Parameters:
        text: the whole seal.
        jws: its outermost layer.

    Raises:
        MalformedInput: as `parse_seal`, from `seal.json` on.
    """
    members = _decode(jws.payload)
    if members.get("type") == TYPE and type(members.get("version")) is int and members["version"] != VERSION:
        raise MalformedInput(
            "seal.version",
            f"the seal is of version {members['version']}, and this program knows version {VERSION}",
            help="use a program as new as the one that made the seal",
        )
    _check(members, ENVELOPE, "")
    audience, build, parent = members["audience"], members["build"], members["parent"]
    inherited, step = members["inherited"], members["step"]
    _check(audience, AUDIENCE, "audience.")
    _check(parent, PARENT, "parent.")
    _check(inherited, INHERITED, "inherited.")
    _check(step, STEP, "step.")
    if build is not None:
        _check(build, BUILD, "build.")
        if not any(value is not None for value in build.values()):
            raise _bad_member("build", "says nothing, and is not null")
    _check_step(step)
    expires = members["expires"]
    if expires is None and build is not None and build["id"] is not None:
        raise _bad_member("expires", "is null, in a seal that is bound to a build")
    if expires is not None and expires < members["not_before"]:
        raise _bad_member("expires", "lies before `not_before`")
    if parent["upload"] is None and parent["seal"] is not None:
        raise _bad_member("parent.seal", "names a seal, and there was no upload")
    try:
        sealed = step_of(step)
        plugins = resolved_plugins(step)
        again = seal_step(sealed, execution=step["execution"], resolved=plugins)
        differing = [name for name in step if render_canonical(again[name]) != render_canonical(step[name])]
        checkout = _inherited_checkout(inherited["checkout"])
    except (MalformedInput, VerificationError) as error:
        raise _bad_member("step", f"is no step: {error}") from None
    if differing:
        raise _bad_member(f"step.{differing[0]}", "is not in its normal form")
    return Seal(
        text=text,
        digest=payload_digest(jws.payload),
        alg=jws.alg,
        kid=jws.kid,
        audience=Audience(
            organization=audience["organization"],
            pipeline=audience["pipeline"],
            repository=audience["repository"],
            agents=tuple(audience["agents"]),
        ),
        build=None if build is None else BuildFacts(**build),
        parent=Parent(**parent),
        inherited=Inherited(env=MappingProxyType(inherited["env"]), checkout=checkout),
        step=sealed,
        execution=step["execution"],
        plugins=plugins,
        gates=(),
        not_before=members["not_before"],
        expires=expires,
        attempts=members["attempts"],
        exclusive=members["exclusive"],
        members=MappingProxyType(members),
    )


def _decode(payload: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(payload)
        canonical = render_canonical(value)
    except orjson.JSONDecodeError:
        raise _bad_json("is not JSON in UTF-8") from None
    except VerificationError as error:  # nested too deep, or a number that has no canonical form
        raise _bad_json(f"cannot be canonical: {error.message}") from None
    if canonical != payload:
        # RFC 8785: one text for each value. Which rule was broken helps whoever wrote the other program.
        try:
            decode_strict_json(payload, source="the seal's payload", limits=_LIMITS)
        except MalformedInput as error:
            raise _bad_json(f"is not JSON in its one meaning: {error.message}") from None
        raise MalformedInput(
            "seal.canonical",
            "the seal's payload is not canonical JSON: there are spaces, another order, or another spelling in it",
            help="render the payload by RFC 8785",
        )
    if type(value) is not dict:
        raise _bad_json("is not an object")
    _refuse_numbers(value)
    return value


def _refuse_numbers(value: Any) -> None:
    """Refuse fractions, and integers that readers with doubles take for their neighbours."""
    kind = type(value)
    if kind is dict:
        for member in value.values():
            _refuse_numbers(member)
    elif kind is list:
        for item in value:
            _refuse_numbers(item)
    elif kind is float or (kind is int and not -MAX_SAFE_INTEGER <= value <= MAX_SAFE_INTEGER):
        raise _bad_json(f"holds the number {value}; only integers up to 2**53 - 1 are allowed")


def _check(members: Mapping[str, Any], schema: Schema, path: str) -> None:
    for name in members:
        if name not in schema:
            raise _bad_member(path + name, "is not known")
    for name, kind in schema.items():
        if name not in members:
            raise _bad_member(path + name, "is missing")
        if not kind.allows(members[name]):
            raise _bad_member(path + name, f"is not {kind.words}")


def _check_step(step: Mapping[str, Any]) -> None:
    check_rest(step["rest"])
    for name, schema in (("plugins", PLUGIN), ("secrets", SECRET)):
        for index, item in enumerate(step[name]):
            if type(item) is not dict:
                raise _bad_member(f"step.{name}[{index}]", "is not an object")
            _check(item, schema, f"step.{name}[{index}].")
    for index, plugin in enumerate(step["plugins"]):
        if plugin["commit"] is None and plugin["tree"] is not None:
            raise _bad_member(f"step.plugins[{index}].tree", "is given without a commit")


def _inherited_checkout(value: Any) -> Checkout | None:
    if value is None:
        return None
    checkout = parse_checkout(value)
    if checkout is None or checkout.is_empty or render_canonical(checkout_value(checkout)) != render_canonical(value):
        raise MalformedInput("seal.member", "`inherited.checkout` is not in its normal form")
    return checkout


def _bad_json(why: str) -> MalformedInput:
    return MalformedInput("seal.json", f"the seal's payload {why}", help="sign the step again")


def _bad_member(path: str, why: str) -> MalformedInput:
    return MalformedInput(
        "seal.member", f"`{path}` of the seal {why}", help="sign the step again", evidence={"member": path}
    )
