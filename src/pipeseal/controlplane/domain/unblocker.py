"""Who let a block or input step pass: whoever is signed in, or the person for whom a program says it asks."""

from __future__ import annotations

import msgspec

from pipeseal.controlplane.domain.identifiers import UUID
from pipeseal.errors import MalformedInput

_MAX_CHARACTERS = 500


class Unblocker(msgspec.Struct, frozen=True, omit_defaults=True):
    """A person, as far as they are known; what is not known is empty."""

    id: str = ""
    name: str = ""
    email: str = ""

    @property
    def variables(self) -> dict[str, str]:
        """For the jobs that run afterwards; an address or an id is also a name, when there is no other."""
        return {
            "BUILDKITE_UNBLOCKER": self.name or self.email or self.id,
            "BUILDKITE_UNBLOCKER_EMAIL": self.email,
            "BUILDKITE_UNBLOCKER_ID": self.id,
        }


def read_unblocker(text: str) -> Unblocker | None:
    """The person that a text names: a UUID is their id, what has an `@` in it their address, else it is their name.

    Raises:
        MalformedInput: `request.malformed`, it is too long or not one line.
    """
    text = text.strip()
    if len(text) > _MAX_CHARACTERS or not text.isprintable():
        raise MalformedInput("request.malformed", f"`unblocker` is one line of at most {_MAX_CHARACTERS} characters")
    if not text:
        return None
    if UUID.fullmatch(text.lower()):
        return Unblocker(id=text.lower())
    return Unblocker(email=text) if "@" in text and " " not in text else Unblocker(name=text)


def decode_unblocker(text: str | None) -> Unblocker:
    """The person as kept in the database."""
    return Unblocker() if text is None else msgspec.json.decode(text, type=Unblocker)
