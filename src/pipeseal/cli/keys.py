"""`pipeseal keys list|show|rotate|revoke`: the keys that agents believe, and what the policy says of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from datetime import datetime

    from pipeseal.policy.policy import Policy
    from pipeseal.signing.keys.jwk import Jwk
    from pipeseal.signing.keys.verification_keys import VerificationKeys

_PATH = click.Path(path_type=Path, dir_okay=False)


def _places(command: Callable[..., None]) -> Callable[..., None]:
    """The options that say which files are meant."""
    folder = click.option(
        "--directory",
        type=click.Path(path_type=Path, file_okay=False),
        help="Folder with verification.json and policy.toml.  [default: ~/.config/pipeseal]",
    )
    keys = click.option("--keys", type=_PATH, help="Verification key file, in the place of that folder's.")
    policy = click.option("--policy", type=_PATH, help="Policy file, in the place of that folder's.")
    return folder(keys(policy(command)))


def _find(directory: Path | None, keys: Path | None, policy: Path | None) -> tuple[Path, Path]:
    from pipeseal.cli.init import default_directory

    folder = directory or default_directory()
    return keys or folder / "verification.json", policy or folder / "policy.toml"


def _read(keys_file: Path, policy_file: Path) -> tuple[VerificationKeys, Policy]:
    """Keys and policy, as an agent would start with them."""
    from pipeseal.policy.files import check_only_ours, read_policy
    from pipeseal.policy.keyset import check_key_set
    from pipeseal.policy.policy import Policy
    from pipeseal.signing.keys.open import load_verification_keys

    policy = read_policy(policy_file) if policy_file.exists() else Policy()
    check_only_ours(keys_file, "key.permissions")
    return check_key_set(load_verification_keys(str(keys_file)), shared_secrets=policy.shared_secrets), policy


# --- list --------------------------------------------------------------------------------------------------------


@click.command("list")
@_places
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="Text, or JSON for tools.")
def keys_list(directory: Path | None, keys: Path | None, policy: Path | None, output: str) -> None:
    """List the keys that agents believe, and whether each is believed now.

    The digits are for comparing keys by voice; `pipeseal keys show ID` has the whole thumbprint.

    \b
    Examples:
      pipeseal keys list
      pipeseal keys list --keys /etc/pipeseal/verification.json --policy /etc/pipeseal/policy.toml -o json
    """
    import time

    keys_file, policy_file = _find(directory, keys, policy)
    found, said = _read(keys_file, policy_file)
    rows = [_row(key, said, time.time()) for key in found]
    known = {row["key id"] for row in rows}
    rows += [
        {"key id": kid, "algorithm": "", "thumbprint": "", "digits": "", "state": "removed", "why": record.revoked}
        for kid, record in said.keys.items()
        if kid not in known
    ]
    if output == "json":
        import json

        click.echo(json.dumps(rows, indent=2))
        return
    from pipeseal.errors import escape_control

    for row in rows:
        click.echo(
            escape_control(
                f"{row['key id']:<24} {row['algorithm'] or '-':<7} {row['thumbprint'][:8] or '-':<8}  "
                f"{row['digits'] or '-':<35}  {row['state']}" + (f": {row['why']}" if row["why"] else "")
            )
        )


def _find_key(found: VerificationKeys, key_id: str, keys_file: Path) -> Jwk:
    """The key of an id, among those of a file."""
    from pipeseal.errors import ConfigurationError

    key = next((key for key in found if key.kid == key_id), None)
    if key is None:
        raise ConfigurationError(
            "key.not_found",
            f"there is no key {key_id!r} in {keys_file}",
            help=f"the file holds: {', '.join(key.kid or '' for key in found)}",
        )
    return key


def _row(key: Jwk, policy: Policy, now: float) -> dict[str, str]:
    from pipeseal.signing.keys.digits import comparison_digits

    thumbprint = key.thumbprint()
    record = policy.keys.get(key.kid or "")
    state, why = "valid", ""
    if record is not None:
        limits = {
            "repositories": record.repositories,
            "organisations": record.organizations,
            "pipelines": record.pipelines,
            "branches": record.branches,
            "roles": record.roles and ", ".join(sorted(record.roles)),
        }
        parts = [f"{name} {value}" for name, value in limits.items() if value is not None]
        if record.revoked:
            state, why = "revoked", record.revoked
        elif record.not_after is not None and now > record.not_after:
            state, why = "expired", f"since {_day(record.not_after)}"
        elif record.not_before is not None and now < record.not_before:
            state, why = "not valid yet", f"from {_day(record.not_before)}"
        else:
            if record.not_after is not None:
                parts.insert(0, f"until {_day(record.not_after)}")
            why = "; ".join(parts)
    return {
        "key id": key.kid or "",
        "algorithm": key.alg or "",
        "thumbprint": thumbprint,
        "digits": comparison_digits(thumbprint),
        "state": state,
        "why": why,
    }


def _day(seconds: float) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


# --- show --------------------------------------------------------------------------------------------------------


@click.command("show")
@click.argument("key_id")
@_places
def keys_show(key_id: str, directory: Path | None, keys: Path | None, policy: Path | None) -> None:
    """Show one key: what people compare it by, and how readers pin it.

    \b
    Examples:
      pipeseal keys show uploader-1a2b3c4d
      pipeseal keys show uploader-1 --keys /etc/pipeseal/verification.json

    The thumbprint and the digits belong to the key itself, whatever it is called and whoever lists it. The Keys page
    of a server shows the same ones: compare them with somebody who has the key file, by voice or on another way
    than that server.
    """
    import time

    from pipeseal.errors import escape_control

    keys_file, policy_file = _find(directory, keys, policy)
    found, said = _read(keys_file, policy_file)
    key = _find_key(found, key_id, keys_file)
    row = _row(key, said, time.time())
    lines = {
        "key id": row["key id"],
        "algorithm": row["algorithm"],
        "thumbprint": in_fours(row["thumbprint"]),
        "digits": row["digits"],
        "state": row["state"] + (f": {row['why']}" if row["why"] else ""),
        "pin": f"#pin={row['thumbprint']}   at the end of a link to a build, for its readers",
    }
    for name, value in lines.items():
        click.echo(escape_control(f"{name:<11} {value}"))


def in_fours(thumbprint: str) -> str:
    """A thumbprint in groups of four, to be read by people."""
    return " ".join(thumbprint[start : start + 4] for start in range(0, len(thumbprint), 4))


# --- revoke ------------------------------------------------------------------------------------------------------


@click.command("revoke")
@click.argument("key_id")
@_places
@click.option("--reason", required=True, metavar="TEXT", help="Why; it is part of every refusal.")
def keys_revoke(key_id: str, directory: Path | None, keys: Path | None, policy: Path | None, reason: str) -> None:
    """Revoke a key: nothing that it ever signed is believed any more.

    \b
    Examples:
      pipeseal keys revoke uploader-1a2b3c4d --reason "laptop stolen 2027-03-01"
      pipeseal keys revoke uploader-1 --reason leaked --policy /etc/pipeseal/policy.toml

    Writes `revoked` into the key's record in the policy, and leaves the rest of the file as it is. Running agents
    take it with their next job. Copy the policy to the machines of all agents. Leave the key in the key file: then
    refusals say `key.revoked` and not only that the signer is unknown.
    """
    from pipeseal.errors import ConfigurationError
    from pipeseal.policy.key_record_text import render_text, set_in_record

    if not reason.strip() or any(not character.isprintable() for character in reason):
        raise click.UsageError("--reason has to be words on one line.")
    keys_file, policy_file = _find(directory, keys, policy)
    found, said = _read(keys_file, policy_file)
    record = said.keys.get(key_id)
    if record is not None and record.revoked:
        click.echo(f"{key_id} is revoked already: {record.revoked}")
        return
    if record is None and key_id not in {key.kid for key in found}:
        known = ", ".join(key.kid or "" for key in found)
        raise ConfigurationError(
            "key.not_found",
            f"there is no key {key_id!r} in {keys_file}, and the policy has no record of it",
            help=f"the file holds: {known}",
        )
    values = {"revoked": render_text(reason)}
    _write_policy(policy_file, lambda text: set_in_record(text, key_id, values, source=str(policy_file)))
    click.echo(
        f"Revoked {key_id} in {policy_file}. Agents that read it refuse what it signed from their next job on."
    )
    click.echo("Next: copy the policy to the machines of all other agents; sign static steps again with another key.")


def _write_policy(path: Path, change: Callable[[str], str]) -> None:
    from pipeseal.cli.replace_file import replace_file
    from pipeseal.errors import ConfigurationError

    if not path.exists():
        # A policy that says nothing else than before, when there was none.
        replace_file(path, change('version = 1\nstatic-steps = "any"\n'), code="policy.unreadable")
        click.echo(
            f"warning: {path} is new: agents read it only if `policy-file` of their settings names it", err=True
        )
        return
    try:
        text = path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError("policy.unreadable", f"the policy {path} cannot be read: {error}") from None
    replace_file(path, change(text), code="policy.unreadable")


# --- rotate ------------------------------------------------------------------------------------------------------


@click.command("rotate")
@click.argument("key_id")
@_places
@click.option("--overlap", default="14d", show_default=True, metavar="TIME", help="How long the old key stays good.")
@click.option("--new-key-id", default="", metavar="ID", help="Name of the new key.  [default: of its thumbprint]")
@click.option("--key", "kept_key", metavar="URI", help="The new key, kept in a token or key service; made by you.")
@click.option(
    "--private-jwks-file",
    type=_PATH,
    help="Where to put the new private key.  [default: signing-ID.json beside the public keys]",
)
def keys_rotate(
    key_id: str,
    directory: Path | None,
    keys: Path | None,
    policy: Path | None,
    overlap: str,
    new_key_id: str,
    kept_key: str | None,
    private_jwks_file: Path | None,
) -> None:
    """Replace a key by a new one: both are good for a while, then only the new one.

    \b
    Examples:
      pipeseal keys rotate uploader-1a2b3c4d
      pipeseal keys rotate uploader-1 --overlap 7d --new-key-id uploader-2
      pipeseal keys rotate uploader-1 --key awskms:///alias/ci-2027

    Makes a key pair, puts its public half beside the old key into the verification key file, and gives the old key an
    end in the policy. What the policy says of the old key (repositories, branches, ...) holds for the new one too.
    Running agents take both files with their next job.
    """
    import json
    import time

    from pipeseal.agent.upload_seal import parse_validity
    from pipeseal.cli.replace_file import replace_file
    from pipeseal.errors import ConfigurationError
    from pipeseal.policy.key_record_text import set_in_record
    from pipeseal.signing.keys.files import read_key_file, write_key_file
    from pipeseal.signing.keys.generate import GENERATED, generate_key_pair
    from pipeseal.signing.keys.open import open_signing_key

    if kept_key and private_jwks_file:
        raise click.UsageError("--key is for a key that is kept elsewhere: there is no private file.")
    seconds = parse_validity(overlap)
    keys_file, policy_file = _find(directory, keys, policy)
    found, said = _read(keys_file, policy_file)
    old = _find_key(found, key_id, keys_file)
    record = said.keys.get(key_id)
    if record is not None and record.revoked:
        raise ConfigurationError(
            "key.not_found", f"the key {key_id!r} is revoked, so there is nothing to overlap with",
            help="make a new key with `pipeseal tool keygen`, and add its public half to the key file",
        )  # fmt: skip
    if kept_key:
        public = open_signing_key(kept_key, new_key_id).public_jwk()
        private_set = ""
    else:
        prefix = key_id.rpartition("-")[0] or key_id
        algorithm = old.alg if old.alg in GENERATED and old.kty != "oct" else "EdDSA"
        pair = generate_key_pair(algorithm, new_key_id, prefix=prefix)
        public, private_set = json.loads(pair.public_set)["keys"][0], pair.private_set
    new_id = public["kid"]
    if new_id in {key.kid for key in found} or new_id in said.keys:
        raise ConfigurationError(
            "key.duplicate", f"there is a key {new_id!r} already", help="choose another with --new-key-id"
        )
    document = _key_set(read_key_file(keys_file))
    document["keys"].append(public)
    ends = time.time() + seconds
    if record is not None and record.not_after is not None:
        ends = min(ends, record.not_after)

    def change(text: str) -> str:
        ended = set_in_record(text, key_id, {"not-after": _toml_time(ends)}, source=str(policy_file))
        limits = _limits_of(text, key_id)
        return set_in_record(ended, new_id, limits, source=str(policy_file)) if limits else ended

    # The private key first, and the new public key before the old one's end: stopped anywhere, all stays good.
    private = private_jwks_file or keys_file.with_name(f"signing-{new_id}.json")
    if private_set:
        write_key_file(private, private_set)
    replace_file(keys_file, json.dumps(document, sort_keys=True, separators=(",", ":")), code="key.unwritable")
    _write_policy(policy_file, change)
    click.echo(f"Added {new_id} to {keys_file}; {key_id} is good until {_day(ends)} ({policy_file}).\n")
    click.echo("Next:")
    click.echo("  1. copy both files to the machines of all agents; running agents take them with their next job")
    click.echo(f'  2. on uploaders   signing-jwks-file="{kept_key or private.absolute()}"   and restart them')
    click.echo(f"  3. sign static steps again with the new key before {_day(ends)}: pipeseal tool sign")
    click.echo(f"  4. after that, take {key_id} out of {keys_file}")
    for title in _unnamed(said, key_id, new_id):
        click.echo(f"warning: `keys` of {title} names {key_id} and not {new_id}: add it there", err=True)


def _key_set(data: bytes) -> dict[str, Any]:
    """The key file as JSON, a bare key made a set of one; the caller has read it as keys before."""
    import json

    document = json.loads(data)
    return document if "keys" in document else {"keys": [document]}


def _toml_time(seconds: float) -> str:
    from datetime import UTC, datetime

    moment: datetime = datetime.fromtimestamp(int(seconds), UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _limits_of(text: str, kid: str) -> Mapping[str, str]:
    """What the old key's record limits, as TOML, for the new key."""
    import json
    import tomllib

    record = tomllib.loads(text).get("key", {}).get(kid, {})
    names = ("repositories", "organizations", "pipelines", "branches", "roles")
    # Texts and lists of texts are written alike in JSON and TOML, but for DEL.
    return {
        name: json.dumps(record[name], ensure_ascii=False).replace("\x7f", "\\u007F")
        for name in names
        if name in record
    }


def _unnamed(policy: Policy, old: str, new: str) -> list[str]:
    from pipeseal.policy.rules import SignedBy

    return [
        section.title
        for section in (policy.everywhere, *policy.sections)
        for rule in section.rules
        if isinstance(rule, SignedBy) and rule.allowed.match(old) and not rule.allowed.match(new)
    ]
