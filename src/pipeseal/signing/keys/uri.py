"""What the text that names a signing key may be: a path, or a URI whose scheme says where the key is kept.

A path is a path: what has no known scheme before its first colon, and no `://`, is the name of a file.
"""

from __future__ import annotations

from pathlib import Path

from pipeseal.errors import ConfigurationError

# Scheme to what people call it; a key's own module, or `open.py` for files, says what comes after it.
HOMES = {
    "file": "a file",
    "pkcs11": "a PKCS #11 token",
    "awskms": "AWS KMS",
    "gcpkms": "Google Cloud KMS",
    "vault": "Vault",
    "openbao": "OpenBao",
}


def split_key_uri(uri: str) -> tuple[str, str]:
    """The home of a key, and where it is there: a path in the file system, or the whole URI.

    Raises:
        ConfigurationError: `key.home`: keys are not kept there.
    """
    scheme, colon, _ = uri.partition(":")
    if colon and scheme in HOMES and scheme != "file":
        return scheme, uri
    if "://" not in uri:
        return "file", uri
    from urllib.parse import unquote, urlsplit

    parts = urlsplit(uri)
    if parts.scheme != "file" or parts.netloc not in ("", "localhost"):
        raise ConfigurationError(
            "key.home",
            f"keys are not kept at {parts.scheme}://{parts.netloc}",
            help=f"give a path, or one of: {', '.join(f'{home}:...' for home in HOMES)}",
        )
    return "file", unquote(parts.path)


def key_file(uri: str) -> Path | None:
    """The file that a key is in; None for one that is kept elsewhere.

    Raises:
        ConfigurationError: `key.home`.
    """
    scheme, location = split_key_uri(uri)
    return Path(location) if scheme == "file" else None


def signing_key_uri(jwks_file: str, *, aws_kms_key: str = "", gcp_kms_key: str = "") -> str:
    """The one key that the ecosystem's three options mean; a key service comes before a file, as it does there.

    Parameters:
        jwks_file: a path or URI; may be empty.
        aws_kms_key: key id, ARN or alias in AWS KMS; may be empty.
        gcp_kms_key: resource name of a key's version in Google Cloud KMS; may be empty.
    """
    if aws_kms_key:
        return f"awskms:///{aws_kms_key}"
    if gcp_kms_key:
        return f"gcpkms://{gcp_kms_key}"
    return jwks_file
