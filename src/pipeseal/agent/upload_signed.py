"""`pipeline upload` where a signer holds the key: the job says which file, the signer reads, signs and seals it.

Nothing else of the job's has a say, and nothing of pipelines, keys or seals is imported here.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pipeseal.agent.inside import has_input
from pipeseal.agent.signer_client import SignerClient
from pipeseal.agent.upload_send import send_pipeline
from pipeseal.errors import ConfigurationError, VerificationError, escape_control
from pipeseal.signerapi.messages import CAPABILITY_VARIABLE, SOCKET_VARIABLE, SignRequest

if TYPE_CHECKING:
    from pipeseal.agent.client import AgentClient
    from pipeseal.agent.upload_options import UploadOptions

MAX_GENERATED_BYTES = 4 << 20
# What a job may ask of an upload that signs by itself, and nobody may ask of a signer.
_NOT_HERE = ("dry_run", "no_interpolation", "no_bindings", "no_seal")


def goes_through_signer(options: UploadOptions, environment: Mapping[str, str]) -> bool:
    """Whether an upload is the signer's: the job has one, and no key of its own.

    Parameters:
        options: the caller's.
        environment: the process's variables.
    """
    return bool(environment.get(SOCKET_VARIABLE)) and not options.jwks_file


def upload_signed(
    options: UploadOptions,
    *,
    environment: Mapping[str, str],
    client: Callable[[], AgentClient],
    say: Callable[[str], None],
) -> None:
    """Have the pipeline signed, and upload it.

    Parameters:
        options: the caller's; only the file, `replace` and the job matter.
        environment: the process's variables: where the signer is, and what this job was granted.
        client: makes the client with the job's token.
        say: prints a line for people.

    Raises:
        ConfigurationError: `signer.option`: an option that a signer does not know; `upload.no_job`.
        VerificationError: `signer.no_grant`: this job may not upload; whatever the signer refuses.
        PipesealError: the signer or the server did not answer, or did not want to.
    """
    given = [name for name in _NOT_HERE if getattr(options, name)]
    if given:
        raise ConfigurationError(
            "signer.option",
            f"--{given[0].replace('_', '-')} has no place where a signer signs: only it decides what it signs",
            help="leave the option out; to see what a pipeline becomes, use --dry-run outside of a job",
        )
    if len(options.files) > 1:
        raise ConfigurationError(
            "signer.option", "the signer signs one file for a job, and several were named", help="name one"
        )
    if not options.job:
        raise ConfigurationError(
            "upload.no_job", "there is no job to upload to", help="run this inside a job, or give --job"
        )
    capability = environment.get(CAPABILITY_VARIABLE, "")
    if not capability:
        raise VerificationError(
            "signer.no_grant",
            "the signer has granted this job no upload; the beginning of its log says why",
            help="an upload step is sealed, and the signer's file says which ones may upload",
        )
    generated = None if options.files else _read_input()
    if generated is not None:
        say("Asking the signer to sign what was generated")
    request = SignRequest(
        capability=capability,
        job_id=options.job,
        file=options.files[0] if options.files else "",
        generated=generated,
    )
    signed = SignerClient(Path(environment[SOCKET_VARIABLE])).sign(request)
    for note in signed.notes:
        say(escape_control(note))
    server = client()
    source = escape_control(signed.source)
    for text, summary in zip(signed.pipelines, signed.summaries, strict=True):
        send_pipeline(server, options.job, text, replace=options.replace)
        say(f"Uploaded {escape_control(summary)} from {source}")


def _read_input() -> str | None:
    """What is piped in; None when nothing is."""
    if not has_input():
        return None
    data = sys.stdin.buffer.read(MAX_GENERATED_BYTES + 1)
    if len(data) > MAX_GENERATED_BYTES:
        raise ConfigurationError(
            "signer.option", f"a generated pipeline has at most {MAX_GENERATED_BYTES:,} bytes", help="generate less"
        )
    return data.decode("utf-8", "surrogateescape")
