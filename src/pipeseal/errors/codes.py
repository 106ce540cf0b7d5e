"""The one table of codes: what each means, its harmless causes first, and what to do.

`pipeseal explain CODE` prints a row, `docs/reference/refusals.md` is generated from all of them, and a test holds
that every code in the sources is here and that every row here is produced by some test. Codes are never reused.
"""

from __future__ import annotations

from typing import NamedTuple


class Code(NamedTuple):
    """One row.

    Parameters:
        code: dotted name, lower case; the part before the dot groups codes in the docs.
        title: a few words, for headings and lists.
        meaning: one or two sentences: what was found.
        causes: likely causes, harmless ones first.
        fix: what to do now.
    """

    code: str
    title: str
    meaning: str
    causes: tuple[str, ...]
    fix: str


# Grouped by what is being judged. Keep rows of one group together and in the order in which the checks happen.
CODES: tuple[Code, ...] = (
    # --- input, yaml, json: can the text be read at all? -------------------------------------------------------
    Code(
        "input.too_large",
        "input too large",
        "The text is larger than what is read at once.",
        (
            "a generated file that grew beyond all measure",
            "the wrong file was given, such as a log or an archive",
            "somebody tries to exhaust memory",
        ),
        "Give the right file, or split the pipeline into several uploads.",
    ),
    Code(
        "input.too_deep",
        "nested too deep",
        "Mappings and lists are nested deeper than anything that is meant to be read.",
        (
            "a generator that wraps a value again and again",
            "an alias that repeats a deep value inside itself",
            "somebody tries to exhaust the stack",
        ),
        "Make the value flatter.",
    ),
    Code(
        "input.too_many_values",
        "too many values",
        "Once aliases are expanded, there are more values than are read at once.",
        (
            "aliases of aliases, which multiply",
            "a generated file with very many small values",
            "an alias bomb: a few hundred bytes that expand to gigabytes",
        ),
        "Use fewer aliases inside aliases, or split the pipeline into several uploads.",
    ),
    Code(
        "yaml.empty",
        "no document",
        "The text holds no YAML document at all.",
        (
            "an empty file, or one with comments only",
            "the command whose output was piped in printed nothing",
        ),
        "Look at what was given: `cat FILE`, or run the generating command alone.",
    ),
    Code(
        "yaml.encoding",
        "character not allowed",
        "The bytes are not UTF-8, or there is a character that YAML does not allow unescaped.",
        (
            "the file was saved in another encoding, such as Latin-1",
            "a control character came in by copy and paste",
            "a binary file was given",
        ),
        'Save the file as UTF-8. In double quotes, write control characters as escapes: `"\\x1b"`.',
    ),
    Code(
        "yaml.syntax",
        "not YAML",
        "The text is not YAML in the dialect that pipelines are written in.",
        (
            "indentation is off, or a quote or bracket is not closed",
            "text that begins with a special character (`*`, `@`, `%`, `{`) is not quoted",
            "a tab is used to indent",
            "`%YAML 1.2` or the escape `\\/`, which this dialect does not have",
        ),
        "Correct the line that is shown; quote text that holds special characters.",
    ),
    Code(
        "yaml.tag",
        "tag does not fit",
        "A tag says what a value is, and the value is not that.",
        (
            "`!!bool yes`: only spellings of true and false are booleans",
            "`!!int` before a number with a fraction",
            "`!!binary` before something that is not base64",
        ),
        "Remove the tag, or write a value that fits it.",
    ),
    Code(
        "yaml.key",
        "not usable as a key",
        "The key of a mapping is null, a mapping or a list.",
        (
            "a key was left out in front of the colon",
            "`~` or `null` is meant as text and is not quoted",
            "`{{matrix}}` is used as a key and is not quoted",
        ),
        "Quote the key.",
    ),
    Code(
        "yaml.merge",
        "nothing to merge",
        "`<<` stands before something that is not a mapping.",
        (
            "the alias behind `<<` is of a list or of text",
            "the value behind `<<` was left out",
        ),
        "Merge a mapping, an alias of one, or a list of these.",
    ),
    Code(
        "yaml.alias",
        "alias without end or beginning",
        "An alias names an anchor that does not stand before it, or one around it.",
        (
            "the anchor is misspelled, or stands further down",
            "text that begins with `*` is not quoted",
            "a value holds itself",
        ),
        "Set the anchor (`&name`) before its first alias (`*name`), or quote the text.",
    ),
    Code(
        "json.syntax",
        "not JSON",
        "The text is not JSON.",
        (
            "it was cut off on the way",
            "it was written by hand: a comma too many, single quotes, a comment",
            "it is YAML or something else altogether",
        ),
        "Correct the place that is shown.",
    ),
    Code(
        "json.duplicate",
        "member given twice",
        "A JSON object gives a member twice, so that two readers can read two different things.",
        (
            "a generator that writes members without looking",
            "somebody wants the verifier to read another value than the runner",
        ),
        "Send each member once.",
    ),
    Code(
        "number.range",
        "number too large",
        "A number is larger than any double.",
        (
            "a number that is an identifier and should be text",
            "a typing error in an exponent",
        ),
        "Quote it, so that it is text.",
    ),
    Code(
        "value.unwritable",
        "value cannot be written",
        "A value can be read from YAML, and JSON has no way to write it.",
        (
            "`.inf` or `.nan` stands without quotes",
            "a date has a zone of 24 hours",
        ),
        "Quote it, so that it is text.",
    ),
    # --- pipeline: does the text say a pipeline? --------------------------------------------------------------
    Code(
        "pipeline.malformed",
        "not a pipeline",
        "The text is YAML, and it is not a pipeline: something at its top level, or a step as a whole, has a form "
        "that means nothing.",
        (
            "`steps` is not a list, or `env` is not a mapping",
            "a step is a number, null or a list, often through indentation",
            "the file is some other YAML file",
        ),
        "Correct the place that is shown.",
    ),
    Code(
        "step.malformed",
        "not a command step",
        "The step that came with a job cannot be read as a command step.",
        (
            "the control plane sends a form this version does not know",
            "the step was changed on the way",
        ),
        "Compare the job with the step in the pipeline; update the agent if the form is new.",
    ),
    Code(
        "interpolation.syntax",
        "variable not understood",
        "A `$` begins something that is not one of the known forms of variables.",
        (
            "the text is meant for the shell, and its `$` is not escaped",
            "a form that other shells know, such as `${NAME:?text}` or `${NAME#prefix}`",
            "a brace is not closed",
        ),
        "Write `$$` for a dollar sign that is meant for the shell, or upload with `--no-interpolation`.",
    ),
    Code(
        "interpolation.unset",
        "required variable not set",
        "A variable is required with `${NAME?message}`, and it is not set.",
        (
            "the variable is set for other builds only, such as pull requests",
            "its name is misspelled",
        ),
        "Set it, or give it a default: `${NAME:-word}`.",
    ),
    # --- matrix: is this combination one of the step's? -------------------------------------------------------
    Code(
        "matrix.permutation",
        "combination not in the matrix",
        "The job's matrix values are not a combination that the step's matrix allows.",
        (
            "the control plane expands matrices in a way this version does not know",
            "the values were changed on the way",
        ),
        "Compare the job's values with the step's `matrix`.",
    ),
    Code(
        "matrix.adjustment",
        "adjustment malformed",
        "An adjustment of the matrix does not have the matrix's dimensions, so no combination can be judged.",
        (
            "a dimension was renamed in `setup` and not in `adjustments`",
            "an adjustment was left empty",
        ),
        "Give every adjustment a `with` that names each dimension once.",
    ),
    Code(
        "matrix.skipped",
        "combination skipped",
        "The matrix skips this combination, and there is a job for it all the same.",
        (
            "`skip` has a value that looks like no: everything but false and null skips, `0` and empty text too",
            "the control plane took `skip` away before it made the jobs",
        ),
        "Write `skip: false`, or leave it out, for combinations that are to run.",
    ),
    Code(
        "matrix.token",
        "unknown matrix token",
        "A `{{matrix...}}` in the step names a dimension that the matrix does not have.",
        (
            "the dimension is misspelled or was renamed",
            "`{{matrix}}` alone is used with a matrix whose dimensions have names",
        ),
        "Use the names under `setup`; quotes do not protect a token.",
    ),
    # --- signature: is the step what its signer signed? -------------------------------------------------------
    Code(
        "signature.missing",
        "no signature",
        "The job's step carries no signature, and this agent runs only signed steps.",
        (
            "the pipeline was uploaded by an agent without a signing key",
            "the steps in the pipeline's settings were saved without being signed",
            "somebody removed the signature on the way",
        ),
        "Sign at upload (give the uploader a signing key), or sign steps kept in settings with `pipeseal tool sign`.",
    ),
    Code(
        "signature.malformed",
        "signature is not in the format's spelling",
        "The signature's text is not a detached JWS in the one spelling that signers of this format write.",
        (
            "the signature was cut or wrapped by an editor, a template or a form",
            "the step was signed by another tool, with its own headers",
            "somebody looks for a spelling that one verifier accepts and another does not",
        ),
        "Sign the step again, with `pipeseal tool sign` or at upload.",
    ),
    Code(
        "key.unknown",
        "signed by a key that is not trusted here",
        "The signature names a key id that is not among the verification keys of this agent or command.",
        (
            "the signer's key is new, and its public half was not handed out yet",
            "the verification key file is an old copy",
            "somebody signed with a key of their own",
        ),
        "If you trust that signer, add its public key to the verification key file. Compare thumbprints first.",
    ),
    Code(
        "key.unsuitable",
        "the named key cannot verify",
        "The signature names a key that is among the verification keys, but its algorithm, type or use does not fit.",
        ("the key file was edited by hand", "a key for another purpose was put into the verification key file"),
        "Put the signer's public key into the file as `pipeseal tool keygen` wrote it.",
    ),
    Code(
        "algorithm.mismatch",
        "the algorithms disagree",
        "The signature's header, its `algorithm` member and the trusted key do not all name the same algorithm.",
        (
            "the key was replaced by one of another type under the same key id",
            "somebody tries to have a signature checked by an algorithm of their choice",
        ),
        "Sign the step again with the key that is trusted under this key id.",
    ),
    Code(
        "signature.mismatch",
        "the step is not what was signed",
        "The signature does not belong to this step, environment and repository. A signature of this format covers "
        "everything at once, so it cannot say which part differs.",
        (
            "the step was edited after it was signed",
            "the repository is written differently here than where it was signed (`git@...` or `https://...`)",
            "the control plane expanded a variable in the step; write `$$VAR` to have it expanded in the job",
            "the step runs in another build, branch or pipeline than the one it was bound to",
            "another key is used under the same key id",
            "somebody changed the step on its way here",
        ),
        "Compare the step with its source, then sign it again. If nobody changed it, keep the job's data and tell "
        "whoever looks after security.",
    ),
    # --- field: does the signature cover what it must? --------------------------------------------------------
    Code(
        "field.none",
        "the signature covers nothing",
        "The signature's list of signed fields is empty.",
        ("the signature was edited by hand", "somebody tries to have an empty signature accepted"),
        "Sign the step again.",
    ),
    Code(
        "field.not_signed",
        "a part that must be signed is not",
        "The signature leaves out a field that every signature of such a step has to cover.",
        (
            "secrets or checkout settings were added to the step after it was signed",
            "the control plane copied the pipeline's secrets into the step; `pipeseal tool sign` does so first",
            "somebody added something to a signed step",
        ),
        "Sign the step again as it now is.",
    ),
    Code(
        "field.unknown",
        "a signed field is not known here",
        "The signature covers a field that this version cannot check, so it cannot say whether the job keeps to it.",
        ("the step was signed by a newer version", "the list of signed fields was edited"),
        "Update this agent, or sign the step again with a version like its own.",
    ),
    Code(
        "field.repeated",
        "a signed field is listed twice",
        "The signature lists the same field more than once; no signer writes that.",
        ("the signature was edited by hand",),
        "Sign the step again.",
    ),
    Code(
        "environment.missing",
        "a signed variable is missing",
        "The signature covers a variable that the job's environment does not have.",
        (
            "the step runs outside the build it was bound to, where that variable is not set",
            "the control plane does not send this variable to every job; sign without that binding",
            "somebody removed a variable that the step relies on",
        ),
        "Find out why the variable is missing; sign again without the binding if it cannot be there.",
    ),
    # --- job: does the job say what its signed step says? -----------------------------------------------------
    Code(
        "job.ambiguous",
        "the job's JSON can be read in two ways",
        "Members of the job are there twice, differ from known ones by case alone, or hold text or numbers that "
        "readers "
        "disagree about. Such a job could be one thing to the verifier and another to the runner.",
        ("the control plane has a fault in how it writes JSON", "somebody hides one job inside another"),
        "Report it to whoever runs the control plane, with the job's id.",
    ),
    Code(
        "command.differs",
        "the job's command is not the step's",
        "The step's signature is right, but the job was given another command than its step has.",
        (
            "the control plane expanded a variable in the command; write `$$VAR` to have it expanded in the job",
            "somebody edited the job's command after the step was signed",
        ),
        "Compare the command with its source. If nobody meant to change it, keep the job's data and tell whoever "
        "looks "
        "after security.",
    ),
    Code(
        "environment.differs",
        "the job's variables are not the step's",
        "The step's signature is right, but variables of the step are missing from the job or have other values "
        "there.",
        (
            "a variable of the build has the same name as one of the step, and won",
            "the control plane expanded a variable inside the value",
            "somebody changed the job's variables",
        ),
        "Give the variable another name in the build or the step, or find out who changed it.",
    ),
    Code(
        "plugins.differ",
        "the job's plugins are not the step's",
        "The step's signature is right, but the job was given other plugins, or other plugin settings, than its "
        "step has.",
        (
            "the control plane rewrote plugin settings",
            "somebody added a plugin, or changed one, after the step was signed",
        ),
        "Compare the plugins with the step's source. A plugin is code: treat a surprise here as an attack.",
    ),
    Code(
        "field.uncheckable",
        "a signed field cannot be compared with the job",
        "The signature covers a field for which a job carries nothing to compare, such as `checkout`.",
        (
            "the step has `checkout` settings; agents of this protocol refuse jobs whose signature covers them",
            "the step was signed by a newer version",
        ),
        "Take the `checkout` settings out of the step and sign it again.",
    ),
    Code(
        "key.none",
        "no verification keys",
        "There are no keys to verify signatures with.",
        (
            "the agent was set up without `verification-jwks-file`",
            "the agent runs jobs of pipelines that started to sign only recently",
        ),
        "Give the agent the public keys of its signers with `--verification-jwks-file`.",
    ),
    Code(
        "verification.behavior",
        "not a way to treat unproven jobs",
        "The setting for what happens when verification fails is neither block nor warn.",
        ("the word has a typing error",),
        "Say block (refuse the job) or warn (run it and say so).",
    ),
    Code(
        "verification.fault",
        "verification itself failed",
        "Something unexpected happened while the job was being verified, so nothing was proved and nothing was run.",
        ("a fault in this program", "the machine is out of memory", "a job made to trip the verifier"),
        "Report it with the job's id and the agent's log.",
    ),
    # --- seal: is there one, who made it, what does it say, and does the job say the same? ----------------------
    Code(
        "seal.missing",
        "no seal",
        "The step carries no seal, and this agent runs only what is sealed.",
        (
            "the step was uploaded or signed with --no-seal or --no-bindings, or by another program",
            "the upload ran on an agent without a signing key",
            "the control plane took the seal off the step",
        ),
        "Upload or sign the step with Pipeseal. While a fleet moves over, an agent's policy can ask for signatures "
        "only.",
    ),
    Code(
        "seal.too_large",
        "seal too large",
        "A seal travels as a variable, and no program can be started with a variable beyond 128 KiB.",
        (
            "a script of several thousand lines stands in the pipeline instead of the repository",
            "somebody sends a seal that nobody made, to exhaust memory",
        ),
        "Move the script into a file of the repository, and let the step name it.",
    ),
    Code(
        "seal.malformed",
        "seal malformed",
        "The variable is not three segments of base64url with dots between them.",
        (
            "the value was cut off, or went through a program that changes long values",
            "the variable was set by hand",
            "somebody changed the seal on its way here",
        ),
        "Sign the step again.",
    ),
    Code(
        "seal.type",
        "not a seal",
        "The JWS says of itself that it is something else than a seal.",
        (
            "the key is used for other things too, and one of those was put into the variable",
            "somebody presents a signature that was made for another purpose",
        ),
        "Sign the step again. Use a key for signing steps that signs nothing else.",
    ),
    Code(
        "seal.header",
        "seal's header not allowed",
        "The header is not exactly an algorithm, a key id and the type. Members such as `crit`, `b64`, `jwk` or "
        "`jku` are never accepted, and neither is the algorithm `none`.",
        (
            "another program made the seal, and not by its specification",
            "somebody tries to choose the key or the algorithm for the verifier",
        ),
        "Sign the step again.",
    ),
    Code(
        "seal.signature",
        "the seal was not made by its key",
        "The signature over the seal is wrong: the seal was changed, or another key made it.",
        (
            "another key is used under the same key id",
            "the value was changed on its way here by a program that rewrites variables",
            "somebody changed the seal, or made one up",
        ),
        "Compare the key's thumbprint on both sides. If it is the same, keep the job's data and tell whoever looks "
        "after security.",
    ),
    Code(
        "seal.json",
        "seal's payload not readable",
        "The payload is not JSON with one meaning: a member stands twice, a number is a fraction or beyond 2**53, or "
        "the text is not UTF-8.",
        ("another program made the seal, and not by its specification",),
        "Sign the step again with a program that keeps to the specification of seals.",
    ),
    Code(
        "seal.canonical",
        "seal's payload not canonical",
        "The payload is JSON, and not in its canonical form (RFC 8785).",
        ("another program made the seal, and not by its specification",),
        "Sign the step again with a program that renders the payload by RFC 8785.",
    ),
    Code(
        "seal.version",
        "seal of another version",
        "The seal has a version that this program does not know.",
        ("the uploader is newer than this agent",),
        "Update this agent, or sign with a program as old as it.",
    ),
    Code(
        "seal.member",
        "seal's member unknown, missing or wrong",
        "A member of the seal is not known, is missing, or is not what it has to be. Nothing in a seal is optional, "
        "and nothing is ignored.",
        (
            "another program made the seal, and not by its specification",
            "the uploader is newer than this agent, and seals more",
        ),
        "Sign the step again; update the older of uploader and agent.",
    ),
    Code(
        "seal.early",
        "seal not valid yet",
        "The seal is good from a later time on.",
        (
            "the clock of the uploader is ahead, or the agent's is behind",
            "the step was signed for a later time on purpose",
        ),
        "Set the clocks, for example with NTP.",
    ),
    Code(
        "seal.expired",
        "seal expired",
        "The seal was good until a time that has passed.",
        (
            "the build waited for longer than its seals are good for",
            "the agent's clock is ahead",
            "somebody held the job back, to run it when it was no longer wanted",
        ),
        "Start a new build. Builds that have to wait longer can be uploaded with --seal-valid-for.",
    ),
    Code(
        "seal.audience",
        "sealed for others",
        "The step was sealed for another organisation, pipeline or repository, or for agents with other tags. What "
        "counts is this agent's own configuration, not what the control plane says of it.",
        (
            "the agent was started with other tags than the step asks for",
            "the step names no queue, and this agent is in another one than `default`",
            "the control plane sent the job to an agent that may not run it",
        ),
        "Compare the step's `agents` with the tags in this agent's configuration.",
    ),
    Code(
        "seal.differs",
        "the job is not what was sealed",
        "The job that the control plane sent says something else than the seal. The message names each member and "
        "variable; values are shown as digests.",
        (
            "the step was edited after it was sealed",
            "the control plane expanded a variable in the step; write `$$VAR` to have it expanded in the job",
            "the build has another commit, branch, tag or pull request than the one the step was sealed for",
            "the control plane leaves members of the step out when it hands out the job",
            "somebody changed the job on its way here",
        ),
        "Compare the named members with the pipeline's source, and upload the steps again. If nobody changed them, "
        "tell whoever looks after security.",
    ),
    Code(
        "seal.skipped",
        "sealed as skipped",
        "The step was sealed as one that is to be skipped, and the control plane wants it run.",
        (
            "the control plane does not know `skip`",
            "somebody wants a step to run that its author skipped",
        ),
        "Remove `skip` from the step, if it should run.",
    ),
    Code(
        "seal.index",
        "not one of the parallel jobs",
        "The job's number among the parallel jobs of its step is not below the sealed `parallelism`, or is missing.",
        (
            "the control plane counts parallel jobs in another way",
            "somebody wants the same step to run more often than it should",
        ),
        "Compare `parallelism` in the step with BUILDKITE_PARALLEL_JOB and BUILDKITE_PARALLEL_JOB_COUNT of the job.",
    ),
    Code(
        "seal.attempts",
        "retried too often",
        "The job was retried more often than its seal allows: once, the automatic retries of the step, and ten by "
        "hand unless the step forbids those.",
        (
            "a job that fails by chance was retried again and again",
            "the control plane retries more often than the step says",
        ),
        "Start a new build, or raise the limits in the step's `retry`.",
    ),
    Code(
        "seal.validity",
        "not how long a seal can be good for",
        "The time that seals are to be good for is not a whole number with a unit.",
        ("the unit is missing, or is one that is not known (`7days`)",),
        "Write minutes, hours or days: `90m`, `12h`, `7d`.",
    ),
    Code(
        "seal.key",
        "key without an id cannot seal",
        "A seal names its key, so that verifiers know which one to take; the key has no id (`kid`), or one that is "
        "too long.",
        ("the key was made by a program that gives no ids",),
        "Make a key with `pipeseal tool keygen`, or add a `kid` to both halves.",
    ),
    Code(
        "seal.unsealable",
        "step cannot be sealed",
        "Part of the step or pipeline cannot be put into a seal without becoming ambiguous.",
        (
            "a number with a fraction stands in a member that agents know nothing of",
            "the step names its key, label or command twice, under different names",
            "the pipeline sets PIPESEAL_SEAL itself",
        ),
        "Rewrite the named part (numbers in quotes are text), or leave the seals out with --no-seal.",
    ),
    # --- number, payload: what can be signed at all -----------------------------------------------------------
    Code(
        "number.unsafe",
        "a number cannot be signed exactly",
        "Signed values are numbers as JSON has them: doubles. This number shares its double with others, so the "
        "signature "
        "would cover those as well.",
        (
            "an id or a hash was written as a number",
            "somebody replaced a signed number by one that looks the same once signed",
        ),
        "Write the number as text, in quotes, and sign the step again.",
    ),
    Code(
        "payload.value",
        "a value cannot be signed",
        "A signed part of the step holds something that canonical JSON cannot: an infinity, a date without a valid "
        "zone, two "
        "members of one name, or nesting beyond any reason.",
        ("a value without quotes was read as a date or a number",),
        "Write the value as text, in quotes.",
    ),
    # --- signing: what is refused before it is signed ---------------------------------------------------------
    Code(
        "signing.unknown_step",
        "a step cannot be read, so nothing is signed",
        "One of the steps is of no known kind. It could mean something to others that the signature would not cover.",
        (
            "a step has a typing error in its `command`, `wait`, `block`, `input`, `trigger` or `group`",
            "a member of a command step has a value of the wrong kind (a date without quotes, a list where text "
            "belongs)",
        ),
        "Mend the step; the message says where it is and what could not be read.",
    ),
    Code(
        "signing.unverifiable",
        "signed like this, the step could never be verified",
        "The step holds something that does not survive being sent as JSON, so every verifier would refuse its "
        "signature.",
        (
            "an empty list inside unknown settings of a matrix or a checkout",
            "a matrix without `setup`, or an adjustment without `with`",
            "a secret without a name, or a plugin source that expands to something that expands again",
        ),
        "Remove or rewrite the part that the message names.",
    ),
    Code(
        "signing.interpolation",
        "variables cannot be expanded in a signed file",
        "Steps signed outside a build must not contain variables to expand, because what they become is not known "
        "yet.",
        ("the pipeline was written for `pipeline upload`, which expands variables first and then signs",),
        "Use `pipeline upload` for this pipeline, or take the variables out; escaped ones (`$$VAR`) count as well.",
    ),
    Code(
        "signing.file",
        "the signed file cannot be written",
        "The result of signing could not be written where it was asked for.",
        ("the folder is missing or not yours to write",),
        "Choose another --output.",
    ),
    Code(
        "signing.unconfirmed",
        "nobody vouched for it",
        "What a server says a pipeline is was not signed, or not put in place, because nobody confirmed it.",
        ("the command runs where nobody can be asked", "the question was answered with no"),
        "Read what is shown; then confirm, or repeat with --no-confirm and --expect-digest. Better: sign a file.",
    ),
    Code(
        "signing.other_text",
        "not the text that was agreed to",
        "What the server says the pipeline is differs from what --expect-digest stands for; nothing was signed.",
        ("somebody changed the pipeline since", "the server shows different people different steps"),
        "Read what it is now, and find out who changed it.",
    ),
    Code(
        "signing.repository",
        "another repository on the server",
        "The server says another repository than --repo; nothing was signed.",
        ("the same repository is written in two ways", "somebody wants steps signed for another repository"),
        "Correct the pipeline on the server, or --repo.",
    ),
    Code(
        "binding.conflict",
        "a variable is both set and bound",
        "The pipeline or the step sets a variable that the signature is to be bound to, so the binding would mean "
        "nothing.",
        ("the pipeline sets a BUILDKITE_ variable that the agent sets itself",),
        "Take the variable out of the `env` of the pipeline and the step, or sign without bindings (--no-bindings).",
    ),
    Code(
        "binding.unusable",
        "nothing can be bound to that",
        "A binding was asked for that says nothing, or could mean something else tomorrow.",
        ("the commit is `HEAD` or an abbreviation, not a full object id", "a slug is empty"),
        "Resolve the value first, or leave the binding out.",
    ),
    # --- key: keys and their files ----------------------------------------------------------------------------
    Code(
        "key.set",
        "not a key file",
        "The file is not a JWK Set, nor a single JWK, in JSON.",
        ("a PEM file was given", "the file was cut, or edited by hand"),
        "Use key files as `pipeseal tool keygen` writes them.",
    ),
    Code(
        "key.malformed",
        "a key is not sound",
        "A key in the file lacks parts, or has parts that no key can have. One such key spoils its whole file.",
        ("the file was edited by hand", "the key was made by another tool with other habits"),
        "Make keys with `pipeseal tool keygen`.",
    ),
    Code(
        "key.set_empty",
        "no keys in the key file",
        "The verification key file holds no keys.",
        ("the file was prepared, and no key was added yet",),
        "Put the public keys of your signers into it.",
    ),
    Code(
        "key.no_algorithm",
        "a key without an algorithm",
        "A key does not say its algorithm (`alg`), so a signature could choose one.",
        ("the key was made by another tool",),
        "Add `alg` to the key, or make keys with `pipeseal tool keygen`.",
    ),
    Code(
        "key.id_needed",
        "which of the keys?",
        "The signing key file holds several keys, or none, and none was named.",
        ("the file holds old and new keys during a change of keys",),
        "Name the key with --jwks-key-id.",
    ),
    Code(
        "key.not_found",
        "no such key",
        "The signing key file has no key with that id.",
        ("the id has a typing error", "the file is another than you think"),
        "Use one of the ids that the message lists.",
    ),
    Code(
        "key.not_private",
        "a public key cannot sign",
        "The file given for signing holds the public half of a key pair.",
        ("the names of the two files were mixed up",),
        "Give the private file.",
    ),
    Code(
        "key.unusable",
        "this key does not sign pipelines",
        "The key's algorithm is not one that pipelines are signed with, or does not fit the key.",
        ("the key was made for another purpose", "the key's two halves do not belong together"),
        "Make a key with `pipeseal tool keygen`.",
    ),
    Code(
        "key.id",
        "not a key id",
        "The key id has characters that cannot be part of a file name, or is too long.",
        ("it holds a space or a slash",),
        "Use letters, digits, dots, underscores and hyphens.",
    ),
    Code(
        "key.home",
        "keys are not kept there",
        "The key's address names a kind of key store that is not supported.",
        ("the address has a typing error",),
        "Give the path of a key file.",
    ),
    Code(
        "key.unreadable",
        "the key file cannot be read",
        "The key file is missing, or may not be read by this user.",
        ("the path has a typing error", "the file belongs to another user"),
        "Check the path, and who may read the file.",
    ),
    Code(
        "key.permissions",
        "others can change the key file",
        "The key file can be changed by other users, who could put their own key into it.",
        ("the file was copied with a loose umask",),
        "Take the others' right to write away: `chmod go-w FILE`, owned by root or by the user who runs this.",
    ),
    Code(
        "key.duplicate",
        "two keys with one id",
        "The verification set has two keys with the same id, so nobody can say which one a signature names.",
        (
            "a key was added twice",
            "two signers chose the same id",
        ),
        "Remove one, or give each key an id of its own.",
    ),
    Code(
        "key.symmetric",
        "shared secret among verification keys",
        "The verification set has a secret that signer and agent share (HS256 and kin): every agent that "
        "verifies could sign.",
        (
            "an older set-up with shared secrets",
            "a private file was copied",
        ),
        "Use an EdDSA key; or allow it for now with --allow-shared-secrets, or `shared-secrets = true` in the "
        "policy.",
    ),
    Code(
        "key.private",
        "private key among verification keys",
        "The verification set has a private key: whoever reads the file could sign.",
        ("the private file was given in place of the public one",),
        "Give agents the public file, and make a new key if the private one has been on machines that run jobs.",
    ),
    Code(
        "key.weak",
        "weak key among verification keys",
        "The verification set has a key that no step should be believed for: for an old algorithm, for one "
        "that steps are not signed with, or with a member twice.",
        (
            "a key for another purpose is in the set",
            "an old key was never replaced",
        ),
        "Replace it by an EdDSA key (`pipeseal tool keygen`), or remove it.",
    ),
    Code(
        "key.exists",
        "the key file is there already",
        "A key pair would overwrite a file. Keys are never overwritten.",
        ("the same key id was used before",),
        "Choose another --key-id, or move the old file away.",
    ),
    Code(
        "key.in_repository",
        "a private key does not belong in a repository",
        "The private key would be written into a git work tree, from where it is committed by accident.",
        ("you are in the repository's folder",),
        "Name another place with --private-jwks-file, or insist with --force-in-repo.",
    ),
    Code(
        "key.unwritable",
        "the key file cannot be written",
        "The key file could not be created.",
        ("the folder is missing or not yours to write",),
        "Name another place with --private-jwks-file and --public-jwks-file.",
    ),
    # --- job on the wire --------------------------------------------------------------------------------------
    Code(
        "json.lost_text",
        "text would change by being read",
        "Half of a surrogate pair, or bytes that are not UTF-8, would be replaced, so different texts become one.",
        ("a program cut a text in the middle of a character", "somebody makes two texts look alike to the verifier"),
        "Send text as valid UTF-8.",
    ),
    Code(
        "job.malformed",
        "not a job",
        "What the control plane sent as a job is not one: not JSON, or with members of the wrong kind.",
        ("the control plane has a fault, or speaks another version of the protocol", "a proxy answered in its place"),
        "Report it to whoever runs the control plane.",
    ),
    # --- access: who asks the control plane ---------------------------------------------------------------------
    Code(
        "access.no_token",
        "request without a token",
        "The control plane was asked something without a token in the `Authorization` header, or with one in the "
        "wrong form (`Token ...` for agents, `Bearer ...` for the REST API).",
        ("the token was left out", "a proxy in between removed the header"),
        "Send the token: agents get it with --token, commands with --token-file or PIPESEAL_TOKEN.",
    ),
    Code(
        "access.unknown_token",
        "token that opens nothing",
        "The control plane does not know the token, or it no longer works: the agent has disconnected, or the job "
        "was taken from it.",
        (
            "the token of another server, or of an earlier data folder of this one",
            "the agent was silent for so long that the server ended its job",
            "somebody tries tokens",
        ),
        "Use the token in the server's data folder; an agent whose job was taken from it stops the job and goes on.",
    ),
    Code(
        "access.other_job",
        "token of another job",
        "A job used its token to speak for another job.",
        ("a script keeps BUILDKITE_JOB_ID or the token of an earlier job", "a job tries to change another one"),
        "Take both from the environment of the job that runs.",
    ),
    Code(
        "access.other_build",
        "build that this job may not touch",
        "A job asked for a build of another pipeline, or wanted to change a build that is not its own.",
        ("a script keeps the id of another build", "a job tries to read or change what is not its own"),
        "Read only builds of the same pipeline, and change only the job's own build.",
    ),
    Code(
        "access.link",
        "address that opens nothing",
        "The address of an artifact's bytes was not made by this server, or it works no longer.",
        ("an old address was used again", "the address was cut or changed on its way", "somebody tries addresses"),
        "Search for the artifact again: each search gives new addresses.",
    ),
    # --- request: what the control plane is asked ---------------------------------------------------------------
    Code(
        "request.malformed",
        "request that cannot be understood",
        "The body or query of a request to the control plane is not what it takes; the message says where.",
        ("a program written for another version", "a value out of bounds"),
        "Compare the request with the reference of the control plane.",
    ),
    Code(
        "request.not_found",
        "nothing there",
        "The control plane has no such path, pipeline, build, job, agent or key.",
        ("a typing error", "another organisation or server is meant", "an endpoint that this server does not have"),
        "Check the names; `pipeseal pipeline list` shows the pipelines.",
    ),
    Code(
        "request.method",
        "method not served",
        "The path exists and takes other HTTP methods only.",
        ("a program written for another version",),
        "Compare the request with the reference of the control plane.",
    ),
    Code(
        "request.too_large",
        "request larger than its limit",
        "The body of a request, as sent or once decompressed, is larger than the control plane takes.",
        ("a very large pipeline", "a compressed body that was made to burst"),
        "Split the pipeline, or start the server with a larger --max-upload-bytes.",
    ),
    Code(
        "request.slug",
        "slug that is none",
        "A pipeline's slug has other characters than lower-case letters, digits and single dashes.",
        ("a name was given where the slug is wanted",),
        "Choose a slug such as `my-pipeline`.",
    ),
    Code(
        "request.exists",
        "name taken",
        "There is a pipeline with this slug already.",
        ("it was created before",),
        "Use the existing pipeline, or choose another slug.",
    ),
    # --- state: what a job's state does not allow ---------------------------------------------------------------
    Code(
        "state.move",
        "move that no job makes",
        "A job was to go from one state to another, and the table of allowed moves has no such move.",
        ("a fault in the control plane",),
        "Please report it together with the message.",
    ),
    Code(
        "state.unavailable",
        "job that cannot be had",
        "An agent wanted to accept a job that is not to be had by it: another agent has it or is being offered it, "
        "it needs other tags, or the agent still has another job.",
        ("two agents were told of it at a bad moment", "the agent was slow and the job was offered to another"),
        "Nothing: the agent asks for other work.",
    ),
    Code(
        "state.locked",
        "job that cannot be had yet",
        "An agent wanted to acquire a job that waits for something else, or is being offered to another agent.",
        ("the steps before it have not ended", "its concurrency group is full", "a person has to unblock it"),
        "Nothing: the agent asks again.",
    ),
    Code(
        "state.not_acquirable",
        "job that cannot be acquired",
        "An agent wanted to acquire a job that it can never have: another agent has it, it has ended, or it needs "
        "other tags.",
        ("the job was cancelled", "another agent was quicker", "the agent's tags are not those of the job"),
        "Start the agent with the tags that the job needs, or acquire another job.",
    ),
    Code(
        "state.not_expected",
        "upload that is over",
        "The bytes of an artifact came after its upload had ended.",
        ("a request was repeated late", "a script uploads by itself"),
        "Announce the artifact again.",
    ),
    Code(
        "state.not_running",
        "job that does not run",
        "Something was asked that only a running job may do.",
        ("the job was cancelled or has ended", "a process outlived its job"),
        "Let the job do it while it runs.",
    ),
    Code(
        "state.not_blocked",
        "job that is not blocked",
        "Somebody unblocked a job that does not wait for a person, or not any more.",
        ("two people unblocked it", "the steps before it have not ended"),
        "Look at the build.",
    ),
    Code(
        "unblock.field",
        "answer that does not fit a field",
        "Somebody unblocked a block or input step, and an answer is missing or is not one its fields allow.",
        ("a required field was left out", "a value that is not among the options", "a step that changed since"),
        "Send an answer for each required field; the message names the field.",
    ),
    Code(
        "state.not_retryable",
        "job that cannot be retried",
        "The job has not ended, was retried already, or its step forbids retries.",
        ("somebody else retried it", "`retry.manual` of the step"),
        "Look at the build for its newest try.",
    ),
    # --- upload: what the control plane makes of an uploaded pipeline -------------------------------------------
    Code(
        "upload.step",
        "step that cannot be used",
        "A step of the pipeline has a member that the control plane cannot use; the message names step and member.",
        ("a typing error in the pipeline", "a value of the wrong type"),
        "Correct the step; `pipeseal pipeline upload --dry-run` shows what is sent.",
    ),
    Code(
        "upload.key",
        "key used twice",
        "Two steps of one build have the same key.",
        ("the same pipeline was uploaded by two jobs", "steps were copied"),
        "Give each step a key of its own.",
    ),
    Code(
        "upload.cycle",
        "steps that wait for each other",
        "Steps depend on each other in a circle, so none of them could ever run.",
        ("a dependency in the wrong direction", "a step depends on the group it stands in"),
        "Remove one of the dependencies that the message lists.",
    ),
    Code(
        "upload.limit",
        "more than the limit",
        "An upload, a matrix or a build would have more jobs than the server allows, or the steps are too long.",
        ("a matrix with many dimensions", "a pipeline that uploads itself again"),
        "Split it, or start the server with the larger limit that the message names.",
    ),
    Code(
        "upload.conflict",
        "upload id used twice",
        "Another pipeline was uploaded under the same id before.",
        ("a client that does not make a new id for each upload",),
        "Make a new id for each upload, and keep it when the same upload is repeated.",
    ),
    # --- artifact, annotation, promise: what jobs give to the control plane ---------------------------------------
    Code(
        "artifact.limit",
        "more artifacts than the limit",
        "A build would have more artifacts than the server allows, or one is larger than it allows.",
        ("a pattern that matches a folder of dependencies", "a very large image"),
        "Upload fewer files, or one archive of them.",
    ),
    Code(
        "artifact.conflict",
        "batch id used twice",
        "Other artifacts were announced under the same batch id before.",
        ("a client that does not make a new id for each batch",),
        "Make a new id for each batch, and keep it when the same batch is repeated.",
    ),
    Code(
        "artifact.mismatch",
        "artifact with other bytes",
        "The bytes that came for an artifact are not those that were announced: their number or a checksum differs.",
        ("the file changed while it was uploaded", "the bytes were damaged or changed on their way"),
        "Upload files after the commands that write them have ended.",
    ),
    Code(
        "artifact.incomplete",
        "artifact without its bytes",
        "An upload was said to be finished, and not all of its bytes have come.",
        ("a request was lost and not repeated", "a script updates artifacts by itself"),
        "Upload the file again.",
    ),
    Code(
        "annotation.limit",
        "too many annotations",
        "A build would have more annotations than the server allows.",
        ("a script that makes a new context for each line",),
        "Use one context and append to it.",
    ),
    Code(
        "promise.conflict",
        "another failure was promised",
        "A job promised to fail with one exit status, and promises another one now.",
        ("two commands of one job promise on their own",),
        "Promise once; the first promise stays.",
    ),
    # --- log: what the control plane makes of log chunks --------------------------------------------------------
    Code(
        "log.conflict",
        "log chunk that contradicts another",
        "A chunk of a log has the number or the place of another one, or came after the log was closed.",
        ("an agent with a fault", "a job that sends log chunks itself"),
        "Nothing: what the log held before stays.",
    ),
    Code(
        "log.limit",
        "log too long",
        "The log reached the server's limit; what follows is not kept.",
        ("a job that prints without end",),
        "Print less, or start the server with a larger --max-log-bytes.",
    ),
    # --- server: running a control plane ------------------------------------------------------------------------
    Code(
        "server.data",
        "data folder that cannot be used",
        "The control plane cannot use its data folder, or another server uses it.",
        ("the folder belongs to another user", "a server is running already", "an older version of this program"),
        "Stop the other server, or give this one a folder of its own with --data.",
    ),
    Code(
        "server.objects",
        "object store that cannot be used",
        "The control plane cannot use the place where logs and artifacts are to lie.",
        ("the folder belongs to another user", "a typing error in --object-store", "another server's database"),
        "Correct --object-store; servers that share a database share one object store.",
    ),
    Code(
        "server.listen",
        "address that cannot be listened on",
        "The control plane cannot open its port.",
        ("another server uses it", "a port below 1024 without the right to it", "an address of another computer"),
        "Stop what uses the address, or choose another with --listen.",
    ),
    Code(
        "server.store",
        "nothing stored",
        "The control plane could not write to its disk; nothing of the request was kept.",
        ("the disk is full", "the disk fails"),
        "Look at the disk of the data folder; agents repeat their requests by themselves.",
    ),
    # --- client: commands that talk to a control plane ----------------------------------------------------------
    Code(
        "client.server",
        "no server's URL",
        "The URL given for the control plane cannot be used.",
        ("a typing error in --server or PIPESEAL_SERVER",),
        "Write it as http://127.0.0.1:8080.",
    ),
    Code(
        "client.token",
        "no API token",
        "The command has no API token for the control plane.",
        ("the server's data folder is not in its usual place", "the file belongs to another user"),
        "Name the file that the server made: --token-file DATA/api-token, or set PIPESEAL_TOKEN.",
    ),
    Code(
        "client.unreachable",
        "control plane not reached",
        "Nothing answers under the URL of the control plane.",
        ("the server is not running", "another port or host", "a firewall"),
        "Start it with `pipeseal server`, or name another with --server.",
    ),
    Code(
        "client.refused",
        "control plane says no",
        "The control plane answered with an error; the message is its own.",
        ("a name that does not exist there", "the token of another server", "a request it cannot use"),
        "Read its message; the server's code is shown beside it and can be explained too.",
    ),
    Code(
        "client.answer",
        "answer that makes no sense",
        "The control plane's answer is not what its API promises.",
        ("the URL is of another program", "a proxy answers in its place", "another version"),
        "Check the URL with --server.",
    ),
    Code(
        "client.pipeline",
        "which pipeline?",
        "No pipeline was named, and the repository here belongs to none or to several.",
        ("the command runs outside a clone", "the pipeline was created with another URL of the repository"),
        "Name it with --pipeline SLUG.",
    ),
    # --- init: setting up -------------------------------------------------------------------------------------
    Code(
        "init.exists",
        "the folder already holds keys or settings",
        "`pipeseal init` found files of its own in the folder, and it never overwrites anything.",
        ("it was run before", "the folder belongs to another set-up"),
        "Use what is there, or give another folder with `--directory`.",
    ),
    # --- condition: `if` of steps, notifications and webhooks -------------------------------------------------
    Code(
        "condition.malformed",
        "not a condition",
        "The text of an `if` cannot be read. The caret stands under the character where reading stopped.",
        (
            "`=`, `&`, `|`, `and` or `or` was written instead of `==`, `&&` or `||`",
            "quotes or parentheses are not closed, or a regular expression lacks its slashes",
            "YAML took a part of the text for its own (`!`, `#`, `:`); put the whole condition between quotes",
        ),
        'Write it as in `build.branch == "main" && build.message !~ /skip/i`; '
        "the operators are `==`, `!=`, `=~`, `!~`, `includes`, `&&`, `||` and `!`.",
    ),
    Code(
        "condition.pattern",
        "not a usable regular expression",
        "A regular expression in a condition cannot be read, or asks for something that has no quick way to match.",
        (
            "a parenthesis or bracket is not closed",
            "it has look-around elsewhere than straight after `^`, a back-reference, or a flag other than `i`",
        ),
        "Rewrite it; two conditions joined with `&&` and `!~` often say what a look-around would.",
    ),
    Code(
        "condition.unknown_name",
        "no such variable or function",
        "A condition names a variable or function that does not exist, or is not known where the condition stands.",
        (
            "a spelling mistake; the help line names the nearest one",
            "text without quotes",
            "`step.*` outside of notifications, or a `BUILDKITE_` variable that exists only inside a job",
        ),
        'Use a variable of the list in the reference, or `build.env("NAME")` for one of your own.',
    ),
    Code(
        "condition.type",
        "values that cannot be compared",
        "A condition compares or joins values of different kinds, is not true or false in the end, or compares a "
        "variable with a value it never has.",
        (
            'a number between quotes (`build.number == "42"`), or `=~` with a string instead of `/.../`',
            "a variable on its own, where `... != null` was meant",
            "a spelling mistake in the name of a state or source",
        ),
        "Compare values of one kind; the message says which two kinds were found.",
    ),
    Code(
        "condition.limit",
        "a condition too large",
        "A condition is too long or too deep, its regular expressions are too large, or they would search too much.",
        ("it was generated from a long list", "somebody tries to keep the control plane busy"),
        "Shorten it, or move the decision into a script that uploads the steps it wants.",
    ),
    Code(
        "condition.value",
        "a value a condition cannot work with",
        "A condition is well written and met a value that it cannot be decided with.",
        (
            "a variable that is marked as required (`${NAME:?}`) is not set in this build",
            "a substring's offset came from a variable that holds no number",
        ),
        "Give the variable a value in the build's environment, or a fallback in the condition: `${NAME:-fallback}`.",
    ),
    # --- branches, schedule: which branches, and when ---------------------------------------------------------
    Code(
        "branches.malformed",
        "not a branch filter",
        "`branches` in a step or in settings is no text with patterns, or has an empty or endless one.",
        (
            "it was written as a mapping or a number",
            "a `!` stands on its own; the pattern belongs straight behind it",
        ),
        'Write patterns with blanks between them, as in `branches: "main feature/* !feature/beta"`.',
    ),
    Code(
        "schedule.malformed",
        "not a cron line",
        "A schedule cannot be read. The caret stands under the field at fault.",
        (
            "a field is missing, or there is one more, such as seconds",
            "a number is outside of its field's range",
            "it uses an extension that other programs have, such as `@reboot` or `~`",
        ),
        "Write minute, hour, day of month, month, day of week, perhaps a time zone: `30 4 * * 1-5 Europe/Berlin`.",
    ),
    Code(
        "schedule.zone",
        "no such time zone",
        "A schedule names a time zone that this machine does not know.",
        (
            "a spelling mistake, or an abbreviation such as CEST, which is not the name of a time zone",
            "the machine has no time zone database (package tzdata)",
        ),
        "Write a name such as `Europe/Berlin` or an offset such as `+09:00`; install tzdata where no name is known.",
    ),
    Code(
        "schedule.never",
        "a schedule that does not run",
        "A cron line names days that do not exist within the next 40 years.",
        ("the 30th of February, or the 31st of a month with 30 days", "`&` joins two days that never meet"),
        "Correct the day or the month.",
    ),
    # --- webhook: deliveries of providers ---------------------------------------------------------------------
    Code(
        "webhook.secret",
        "no usable secret",
        "A webhook has no secret, a short or a damaged one, so no delivery could be told from a forged one.",
        ("the secret was not set yet", "only a part of it was copied"),
        "Make a long random secret, and set it here and at the provider.",
    ),
    Code(
        "webhook.unsigned",
        "a delivery without a signature",
        "A delivery came without the header that proves who sent it, and nothing of it was read.",
        (
            "no secret is set at the provider",
            "a proxy in between drops headers",
            "somebody found the address and tries it",
        ),
        "Set the secret at the provider; for GitLab, the one kind that is set here (token or signing token).",
    ),
    Code(
        "webhook.signature",
        "a delivery with a wrong signature",
        "A delivery's proof does not fit its body and the webhook's secret, and nothing of it was read.",
        (
            "the secret was changed on one side only",
            "a proxy in between changes bodies, for example by writing JSON anew",
            "somebody forged or changed it",
        ),
        "Set the same secret on both sides; during a change, keep the former one here as well.",
    ),
    Code(
        "webhook.stale",
        "a delivery from another time",
        "A delivery was signed more than five minutes from the server's time: it may have been kept and sent anew.",
        ("a clock is wrong", "the delivery waited in a queue", "somebody replays it"),
        "Set the clocks, and let the provider send it anew.",
    ),
    Code(
        "webhook.malformed",
        "a delivery that cannot be read",
        "A delivery is genuine, and its content is not what the provider's documentation says.",
        (
            "the content type is neither JSON nor (GitHub only) a form",
            "the webhook's address is that of another provider",
            "one push moved very many branches or tags",
        ),
        "Choose JSON at the provider and compare the address with the one shown here.",
    ),
    # --- notification: webhooks that the server sends ---------------------------------------------------------
    Code(
        "notification.malformed",
        "`notify` cannot be read",
        "A pipeline's `notify` is not a list of entries such as `webhook: https://...` with an optional `if`.",
        ("an entry is text or a number where a mapping is needed", "`if` is not between quotes"),
        "Write one entry for each receiver.",
    ),
    Code(
        "notification.url",
        "not a webhook's URL",
        "The URL of an outgoing webhook cannot be used.",
        (
            "it does not start with https://",
            "it has a user name or password in it, or characters that must be percent-encoded",
        ),
        "Write the whole URL, as in `https://example.com/hook`; the operator can allow http for receivers nearby.",
    ),
    Code(
        "notification.destination",
        "a destination that is not allowed",
        "The host of an outgoing webhook is in the server's own network, or nowhere, and nothing is sent there.",
        (
            "the receiver is inside, and the operator has not allowed its network",
            "the host name does not exist, or not yet",
            "a pipeline tries to reach something through the server that it cannot reach itself",
        ),
        "Use a receiver in the open network, or let the operator allow the network of this one.",
    ),
    Code(
        "notification.network",
        "not a network",
        "One of the networks that outgoing webhooks are allowed in cannot be read.",
        ("the address has bits set behind its prefix, as in 10.0.0.1/8", "a name was written instead of an address"),
        "Write it as `10.1.0.0/16`, or as a single address.",
    ),
    Code(
        "notification.secret",
        "no usable secret",
        "The secret of an outgoing webhook is short or damaged, so its signature would prove little.",
        ("only a part of it was copied",),
        "Make a long random secret, and set it here and at the receiver.",
    ),
    # --- git: what git said --------------------------------------------------------------------------------------
    Code(
        "git.failed",
        "git failed",
        "A git command that had to work did not; the message holds what git said.",
        ("git is not installed", "the folder or repository is not there, or may not be read"),
        "Read what git said, mend that, and try again.",
    ),
    # --- stage: demonstrations and drills ---------------------------------------------------------------------
    Code(
        "stage.not_ready",
        "a process on the stage did not get ready",
        "A demonstration or drill started one of its own processes, and it ended or stayed silent.",
        ("the machine is very busy", "a port or folder could not be used; the message holds what the process said"),
        "Read what the process said, mend that, and run the command again.",
    ),
    # --- agent: settings, and what it makes of a server's answers ----------------------------------------------
    Code(
        "environment.name",
        "variable whose name is none",
        "The job has a variable whose name no shell knows, or is made to look like another one: with `=` in "
        "it, a NUL "
        "byte, a line break, or as a known name in other letters. The job was refused, with the names.",
        (
            "a build was created with a variable whose name has a dash, a dot or a blank",
            "a generator writes functions into variables (`BASH_FUNC_...`)",
            "somebody hides one variable behind another",
        ),
        "Name variables with letters, digits and `_` alone, or put them into the step that is signed.",
    ),
    Code(
        "environment.forbidden",
        "variable that no server may set",
        "The server sets a variable that changes how programs start, what the agent does, how the checkout is "
        "done or "
        "whom the job talks to, and no signature covers it. The job was refused, with the names.",
        (
            "a build was created with extra variables that belong into the step's signed env",
            "a plugin or script used to be configured through the control plane",
            "somebody tries to run other programs than the signed ones",
        ),
        "Put the variable into the pipeline or step that is signed, or into an agent hook; no policy can allow it.",
    ),
    Code(
        "environment.unknown",
        "variable that nobody allowed",
        "The server sets a variable that no signature covers and that is in no table of what servers may set. "
        "The job "
        "was refused, with the names.",
        (
            "a build was created with extra variables",
            "the pipeline's settings on the control plane hold variables",
            "a newer control plane tells more than this agent knows",
            "somebody fills in a variable that a signed command uses",
        ),
        "Put the variable into the pipeline or step that is signed; or allow it in the policy: "
        '`server-variables = ["NAME"]` (--allowed-environment-variables without a policy).',
    ),
    Code(
        "environment.value",
        "value that a variable cannot have",
        "A variable of the job does not have the form that its kind must have (a slug, a number, a full object id, a "
        "branch without characters that shells read), or no program could be handed it. The job was refused.",
        (
            "a branch or tag is named with quotes, blanks or other characters that shells read",
            "a file's contents were put into a variable",
            "somebody tries to pass an option, a path or a piece of shell off as a name",
        ),
        "Rename the branch or tag; hand large values over as artifacts or files.",
    ),
    Code(
        "job.identity",
        "job that is not what it says",
        "The job says of itself what is not so: another job's id, another agent's name or tags, or a tag, step "
        "or pull "
        "request that the step was not bound to when it was signed.",
        (
            "two agents share a name or a token, and the control plane mixed them up",
            "somebody runs a signed step as part of another job",
        ),
        "Report it to whoever runs the control plane, with the job's id.",
    ),
    # --- rules of a policy, or of the agent's own switches ---
    Code(
        "repository.not_allowed",
        "repository not on this agent's list",
        "The job is for a repository that this agent may not build: neither `repositories` of its policy nor "
        "allowed-repositories match it.",
        (
            "the job should run in another queue",
            "the list is too narrow",
            "the job was sent to the wrong agent on purpose",
        ),
        "Add a pattern to the policy or to allowed-repositories of this agent, or send the job to another queue.",
    ),
    Code(
        "plugin.not_allowed",
        "plugin not on this agent's list",
        "The step uses a plugin that this agent may not run: neither `plugins` of its policy nor "
        "allowed-plugins match "
        "it, or plugins are off.",
        ("the plugin is new and nobody listed it yet", "the pattern names another version or host"),
        "Add a pattern to the policy or to allowed-plugins of this agent, or leave the plugin out.",
    ),
    Code(
        "command.not_script",
        "inline command where only scripts may run",
        "This agent runs only scripts of the repository, and the step's command is not the path of one.",
        (
            "the step has a command with arguments or several commands",
            "the path is absolute or leads out of the repository",
            "the job should run in another queue",
        ),
        "Put the commands into a script of the repository, and name its path alone.",
    ),
    Code(
        "branch.not_allowed",
        "branch not in the policy",
        "The job is of a branch, tag or pull request that the policy does not allow here.",
        (
            "the build was sent to the queue of another branch's agents",
            "the policy's `branches` is too narrow",
            "somebody tries to run unreviewed code on these agents",
        ),
        "Build it on other agents, or add the branch to `branches` of the policy.",
    ),
    Code(
        "pull_request.not_allowed",
        "pull request where none may be built",
        "The job is of a pull request, and the policy says `pull-requests = false`.",
        (
            "pull requests are built by other agents, and the job came to the wrong queue",
            "somebody tries to run unreviewed code on these agents",
        ),
        "Send pull requests to agents of their own, see docs/how-to/policy-recipes.md.",
    ),
    Code(
        "commit.not_full",
        "commit without its full object id",
        "The job names its commit `HEAD`, and the policy wants a full object id.",
        (
            "the build was created by a schedule or by hand, without a commit",
            "somebody wants each job to find other code",
        ),
        "Create builds with a full object id, or remove `head-commits = false` from the policy.",
    ),
    Code(
        "commit.not_on_branch",
        "commit that is not part of its branch",
        "The remote's branch that the job names does not contain the job's commit, or there is no such branch.",
        (
            "the branch was rewritten or deleted after the build was created",
            "the clone is shallow (`--depth`), so that the commit's place cannot be seen",
            "somebody tries to run a commit that was never merged",
        ),
        "Build a commit of the branch; take `--depth` out of the git flags of agents with `branches` in their "
        "policy.",
    ),
    Code(
        "plugin.differs",
        "plugin that is not the sealed one",
        "The repository of a plugin does not have the commit that its version stood for when the step was sealed, or "
        "has another tree for it.",
        (
            "the plugin's tag was moved, and the old commit removed",
            "the plugin's repository was made anew",
            "somebody replaced the plugin after it was sealed",
        ),
        "Look at the plugin's repository; upload the step again, so that it is sealed with what is there now.",
    ),
    Code(
        "checkout.differs",
        "checkout that is not what the job is for",
        "After the checkout, the commit or its tree is not the one that the job's proof names.",
        (
            "a hook or plugin checked out something else",
            "the remote hands out a damaged or forged object",
        ),
        "Look at the checkout's log; check the repository with `git fsck`.",
    ),
    Code(
        "key.not_allowed",
        "signer who may not sign this",
        "The step is signed by a trusted key that the policy does not allow for this repository or pipeline.",
        (
            "a new key was made, and the policy does not name it yet",
            "the section's `keys` is too narrow",
            "a signer for something else signed this",
        ),
        "Add the key's id to `keys` of the section, if its owner may sign this.",
    ),
    Code(
        "key.scope",
        "signer outside of its purpose",
        "The record of the key in the policy says what it may sign, and this is something else.",
        (
            "the key's record is too narrow",
            "the step was uploaded by the agent of another repository",
            "the key leaked, and is used elsewhere",
        ),
        "Sign with the repository's own key, or widen the record.",
    ),
    Code(
        "key.revoked",
        "key that was revoked",
        "The step is signed by a key that the policy says is revoked; nothing it ever signed is believed.",
        (
            "the step was signed before the revocation",
            "the signer has not been given its new key yet",
            "the key leaked, and somebody uses it",
        ),
        "Sign the pipeline again with the new key.",
    ),
    Code(
        "key.expired",
        "key after its time",
        "The step is signed by a key whose `not-after` is over.",
        (
            "the key was not replaced in time",
            "an old signed step is run again",
        ),
        "Sign the pipeline again with the current key, or move `not-after`.",
    ),
    Code(
        "key.not_yet_valid",
        "key before its time",
        "The step is signed by a key whose `not-before` has not come yet.",
        (
            "this machine's clock is wrong",
            "the new key was put to use too early",
        ),
        "Set the clock; wait; or move `not-before`.",
    ),
    Code(
        "proof.not_enough",
        "signed and not sealed",
        "The policy asks for a seal, and the step carries only a signature.",
        (
            "the step was signed by another program, or with --no-seal or --no-bindings",
            "the step was signed before seals were made",
        ),
        'Sign it again with `pipeseal`; or say `proof = "signature"` for the time of a migration.',
    ),
    Code(
        "attempt.too_many",
        "job that ran too often",
        "The server itself says that this job was tried more often than the policy allows.",
        (
            "the job was retried by hand",
            "the policy's `max-attempts` is lower than the step's own retry limit",
        ),
        "Create a new build, or raise `max-attempts`.",
    ),
    Code(
        "policy.no_section",
        "job that no section allows",
        "The policy has sections, and none of them is for this job's repository, organisation and pipeline.",
        (
            "a new repository or pipeline that the policy does not name yet",
            "the address is spelt another way (ssh or https, with or without `.git`)",
            "the job should run on other agents",
        ),
        "Add an [[allow]] section for it, or send it to other agents; `pipeseal policy explain` shows what was "
        "compared.",
    ),
    Code(
        "policy.unproven",
        "rule about something unproven",
        "A rule of the policy asks for something that is only the server's word: the step is not bound to it.",
        (
            "the step was signed without bindings (--no-bindings, or by another program)",
            "a static signature was made without --organization-slug or --pipeline-slug",
        ),
        "Sign with `pipeseal`, which binds steps to their organisation and pipeline; or ask for the repository "
        "alone.",
    ),
    Code(
        "policy.syntax",
        "policy that is not one",
        "The policy file is not TOML, or does not say which version of the format it is in.",
        (
            "a typing error",
            "the wrong file was given",
        ),
        "Correct the line that is shown; `pipeseal policy check FILE` says when it is right.",
    ),
    Code(
        "policy.key",
        "key that no policy has",
        "The policy file has a key that nobody knows, so it would do nothing where its author meant something.",
        (
            "a typing error",
            "a key in the wrong part of the file",
        ),
        "Use the key that the message proposes; docs/reference/policy.md lists all of them.",
    ),
    Code(
        "policy.value",
        "value that a policy's key cannot have",
        "A key of the policy file has a value of the wrong kind, or one that cannot mean anything.",
        (
            "a number in quotes, or a text without",
            "an empty list where something must be allowed",
        ),
        "Use a value of the kind that the message names.",
    ),
    Code(
        "policy.unreadable",
        "policy that cannot be read",
        "The policy file is not there, or cannot be read. A running agent refuses jobs until it can read it again.",
        (
            "the path is wrong",
            "the file belongs to another user",
            "the file is being replaced",
        ),
        "Correct the path, or the file's owner and mode; put a new policy into place with `mv`.",
    ),
    Code(
        "policy.permissions",
        "policy that others can change",
        "The policy file, or a folder above it, can be changed by other users.",
        (
            "the file was made with a wide umask",
            "the folder is shared",
        ),
        "chmod go-w the file and its folders, and let them belong to root or to the user who runs the agent.",
    ),
    Code(
        "checkout.ssh_secret",
        "checkout with the server's SSH key",
        "The step's `checkout` has an `ssh_secret`: a key that the server hands to the agent for the clone.",
        (
            "a pipeline written for agents that take their SSH key from the server",
            "the setting was meant for another step",
        ),
        "Remove `ssh_secret` and give the agent a key of its own (`~/.ssh`, `ssh-agent`): a key that the server "
        "hands out is a key that the server has.",
    ),
    Code(
        "job.other",
        "another job than the one asked for",
        "The agent accepted one job, and the server's answer holds another; it was refused.",
        ("the control plane has a fault", "the control plane sends an agent jobs that are not meant for it"),
        "Look at the control plane's log; the agent goes on with the next job.",
    ),
    Code(
        "hook.refused",
        "the agent's own hook said no",
        "The pre-bootstrap hook of this agent was asked about the job and failed, which refuses the job.",
        ("the hook's rule does not allow this repository, pipeline or command", "the hook itself has a fault"),
        "What the hook printed is in the agent's log.",
    ),
    Code(
        "hook.startup",
        "the agent's start-up hook failed",
        "The agent-startup hook ended with another status than 0, so the agent did not start.",
        ("something the hook prepares is missing on this machine", "the hook itself has a fault"),
        "What the hook printed is in the agent's log.",
    ),
    Code(
        "health.address",
        "no address for health checks",
        "`health-check-addr` is not HOST:PORT, or nothing can listen there.",
        ("a typing mistake", "another agent on this machine has the same port", "a port below 1024 needs privileges"),
        "Give a free one, such as `127.0.0.1:8090`; a port of 0 takes any.",
    ),
    Code(
        "config.missing",
        "no such configuration file",
        "The configuration file that was named is not there or cannot be read.",
        ("a typing error in the path", "the file belongs to another user"),
        "Check the path given with --config or in BUILDKITE_AGENT_CONFIG.",
    ),
    Code(
        "config.line",
        "line that sets nothing",
        "A line of the configuration file is no key=value, comment or empty line.",
        ("a value that goes on in the next line", "a file in another format"),
        "Write one key=value a line; put values with spaces at their ends in quotes.",
    ),
    Code(
        "config.key",
        "unknown setting",
        "The configuration file has a key that no version of the agent knows.",
        ("a typing error", "a setting of another program"),
        "Correct or remove the line; `pipeseal agent start --help` lists all settings.",
    ),
    Code(
        "config.value",
        "value that a setting cannot have",
        "A setting has a value of the wrong kind, or two settings contradict each other.",
        ("a typing error", "a unit behind a number"),
        "Use a value of the kind that the message names.",
    ),
    Code(
        "config.permissions",
        "settings that others can change",
        "The agent's configuration file, or a file that it names and believes, can be changed by other users.",
        (
            "the file was made with a wide umask",
            "the folder is shared",
        ),
        "chmod go-w the file and its folders, and let them belong to root or to the user who runs the agent.",
    ),
    Code(
        "token.missing",
        "no registration token",
        "The agent was given no token to register with.",
        ("the variable or file that holds it is empty", "it was started without its configuration file"),
        "Give --token file://PATH, token=... in the configuration file, or BUILDKITE_AGENT_TOKEN.",
    ),
    Code(
        "token.unreadable",
        "token that cannot be used",
        "The token file cannot be read, or what it holds is no token.",
        ("the file belongs to another user", "the file holds more than the token"),
        "Check the path and who may read it; the file holds the token and nothing else.",
    ),
    Code(
        "endpoint.invalid",
        "address that is no Agent API",
        "The endpoint is no absolute http or https URL.",
        ("the scheme is missing", "a user name or query in the address"),
        "Give an address such as https://ci.example.org/v3.",
    ),
    Code(
        "api.unreachable",
        "no answer from the server",
        "The server could not be reached, or did not answer in time.",
        ("the server is restarting", "network or name service trouble", "a wrong address"),
        "The agent tries again by itself. If it goes on, check the endpoint and the network.",
    ),
    Code(
        "api.status",
        "the server said no",
        "The server answered with an error status; its message is shown.",
        ("a job that has ended meanwhile", "an old or wrong token", "the server has a fault"),
        "The message says what was wrong; for 401 give a current token.",
    ),
    Code(
        "api.redirect",
        "redirects are not followed",
        "The server answered with a redirect. The agent sends its token to the configured address alone.",
        ("the server has moved, or wants https", "somebody wants the token sent elsewhere"),
        "Set the endpoint to the address the server itself has.",
    ),
    Code(
        "api.answer",
        "answer that is not what it should be",
        "The server's answer is no HTTP, no JSON, or lacks what the Agent API promises.",
        ("the endpoint is not an Agent API (is the /v3 missing?)", "a proxy answers in the server's place"),
        "Check the endpoint and what is between agent and server.",
    ),
    Code(
        "api.too_long",
        "answer that is too long",
        "The server's answer is longer than the agent is willing to read.",
        ("the endpoint is not an Agent API", "somebody tries to fill the agent's memory"),
        "Check the endpoint and what is between agent and server.",
    ),
    # --- artifact: files that jobs keep -----------------------------------------------------------------------
    Code(
        "artifact.pattern",
        "pattern that is not whole",
        "A bracket or brace in a pattern for artifacts is never closed, or the pattern is far too long.",
        ("a bracket that is part of a file's name",),
        "Close it, or write a backslash before it; `--literal` takes paths as they are.",
    ),
    Code(
        "artifact.content_type",
        "no media type",
        "The content type given for artifacts holds characters that no media type has.",
        ("a slip in --content-type or BUILDKITE_ARTIFACT_CONTENT_TYPE",),
        "Give a media type such as text/plain, or none: it is told from each file's name.",
    ),
    Code(
        "artifact.file",
        "file that cannot be read or written",
        "An artifact's file could not be read for uploading, or not written when downloading.",
        ("a symbolic link to nothing", "permissions", "the disk is full"),
        "Mend what the message names; `--upload-skip-symlinks` leaves links out.",
    ),
    Code(
        "artifact.too_large",
        "file that is too large",
        "One file is larger than a store takes in one piece. Nothing was uploaded.",
        ("a core dump, disk image or cache among the files",),
        "Make the pattern narrower, or split or compress the file.",
    ),
    Code(
        "artifact.changed",
        "file that changed while it was uploaded",
        "A file's content is not the content its checksums were made of, so the upload was marked as failed.",
        ("a process in the background still writes to it",),
        "Upload after everything that writes the file has ended.",
    ),
    Code(
        "artifact.destination",
        "store that cannot be used",
        "Artifacts were to go to, or are in, a store of another kind than the server's own.",
        (
            "BUILDKITE_ARTIFACT_UPLOAD_DESTINATION names an S3, GCS, Azure or Artifactory store",
            "a pattern without quotes: the shell made several words of it",
        ),
        "Leave out the destination; put patterns in quotes.",
    ),
    Code(
        "artifact.store",
        "address that artifacts do not go to",
        "The server named an address for an artifact's bytes that is neither its own host, nor one the operator "
        "named, nor a public one over TLS. Nothing was sent there or fetched from there.",
        (
            "a store of your own that this command has not been told of",
            "the server tries to reach something inside your network through the agent",
        ),
        "If it is your store, name its host with `--artifact-store` or PIPESEAL_ARTIFACT_STORES.",
    ),
    Code(
        "artifact.transfer",
        "store that did not do its part",
        "A store could not be reached, answered with an error, or stopped in the middle; trying again did not help.",
        ("network trouble", "a signed address that has run out", "the file is larger than the store allows"),
        "Run the command again. If it goes on, look at the store's answer in the message.",
    ),
    Code(
        "artifact.none",
        "no such artifact",
        "No finished artifact of the build matches the query.",
        ("the step that makes it has not finished, or failed before", "a slip in the query", "another build"),
        "Look at what there is with `artifact search '*'`; see --step and --build.",
    ),
    Code(
        "artifact.several",
        "more than one such artifact",
        "A checksum was asked for, and several artifacts match the query.",
        ("a pattern where one path was meant", "several steps upload the same path"),
        "Name one path, and one step with --step.",
    ),
    Code(
        "artifact.format",
        "format that cannot be read",
        "The format for search results holds a backslash with something unknown behind it.",
        ("a single backslash that was meant as itself",),
        "Write two backslashes for one; \\n ends a line.",
    ),
    Code(
        "artifact.path",
        "path that an artifact cannot have here",
        "The server found an artifact whose path was not asked for, or that cannot be a file below the destination. "
        "Nothing was written.",
        (
            "the server understands the query in another way than this command",
            "the server tries to put files where nobody asked for them",
        ),
        "Write the query so that it matches the whole path. If it does, report it to whoever runs the control plane.",
    ),
    Code(
        "artifact.folder",
        "no folder to download to",
        "The destination of a download is not there, or is no folder.",
        ("a slip in its name", "it has to be made first"),
        "Make the folder, then download.",
    ),
    Code(
        "artifact.symlink",
        "link in the way of a download",
        "A folder below the destination is a symbolic link; writing through it could end anywhere.",
        ("the repository holds a link to a folder", "somebody placed the link to write elsewhere"),
        "Remove the link, or download to the folder it leads to.",
    ),
    Code(
        "artifact.checksum",
        "not the bytes that were announced",
        "A downloaded artifact has another checksum or size than the server announced, or a checksum was asked for "
        "that the server does not have. Nothing was kept.",
        (
            "an old artifact, from before SHA-256 was recorded",
            "the store returned something else, such as a page of its own",
            "somebody changed the bytes in the store",
        ),
        "Download again. If it goes on, make the artifact again and find out what happened to the old one.",
    ),
    # --- inside a job: what its commands ask of agent and server ------------------------------------------------
    Code(
        "annotation.too_long",
        "annotation that is too long",
        "The body of an annotation may have 1 MiB.",
        ("a whole log was made into an annotation",),
        "Upload it as an artifact and link to that.",
    ),
    Code(
        "environment.input",
        "variables that cannot be read",
        "What was given to `env set` or `env unset` is not NAME=value, or not the JSON that was announced.",
        ("a value without its name", "JSON with values that are not texts"),
        "Write NAME=value, or a JSON object of texts with `--input-format json`.",
    ),
    Code(
        "redactor.input",
        "secrets that cannot be read",
        "What was given to `redactor add` cannot be read, or is not a JSON object of texts. It is not shown, because "
        "it is secret.",
        ("nested JSON, or numbers in it", "another file"),
        "Give one JSON object of texts, or leave out `--format json`.",
    ),
    Code(
        "secret.fetch",
        "secret that could not be had",
        "The server did not give one or more of the secrets that were asked for; none was printed.",
        ("a slip in the name", "the secret's policy does not allow this pipeline", "the server could not be reached"),
        "Check name and policy of the secret.",
    ),
    Code(
        "secret.redaction",
        "secret that could not be hidden",
        "A secret is printed only once the agent hides it in the log, and the agent could not be told to.",
        ("the command runs outside a job", "the agent's Job API is off"),
        "Run it in a job whose agent offers the Job API, or say `--skip-redaction` if nothing goes to a log.",
    ),
    Code(
        "job.promise",
        "promise that was not accepted",
        "The control plane did not accept that this job will fail with this exit status.",
        ("another exit status was promised before", "the job has ended meanwhile"),
        "Promise one exit status; write `|| true` after the command if it does not matter.",
    ),
    Code(
        "job_api.unavailable",
        "no Job API",
        "The command speaks to the agent through the socket of its job, and there is none, or nobody answers there.",
        ("it runs outside a job", "a container without the socket", "the job has ended"),
        "Run it in a hook, plugin or command of a job; give containers the socket and its two variables.",
    ),
    Code(
        "job_api.refused",
        "the agent says no",
        "The agent answered through a local socket that it will not do this; its reason is shown.",
        ("the variable is one of the agent's own", "the token of another job"),
        "See the reason in the message.",
    ),
    Code(
        "job_api.answer",
        "answer of an agent that cannot be read",
        "What answered on a local socket does not speak the agent's language.",
        ("another program listens there", "another version of the agent"),
        "Check the two variables of the Job API, or the folder for sockets.",
    ),
    Code(
        "lock.unavailable",
        "nobody keeps locks here",
        "No agent on this machine keeps locks in the folder for sockets.",
        ("the agent was started without locks", "another folder for sockets, or another user"),
        "Start the agent with its lock service; name the same `--sockets-path`.",
    ),
    Code(
        "lock.timeout",
        "lock that was not free in time",
        "Another process held the lock, or did the work, for longer than this command was told to wait.",
        ("work that takes long", "a job ended without releasing its lock"),
        "Wait longer with `--lock-wait-timeout`, or release the lock.",
    ),
    Code(
        "lock.not_held",
        "lock of somebody else",
        "A lock is released with the token that acquiring it printed; this is not that token.",
        ("it was released already", "the token of another lock", "the leading agent was restarted and forgot"),
        "Keep what `lock acquire` printed, and give it to `lock release`.",
    ),
    Code(
        "lock.state",
        "lock that is used for something else",
        "A lock for work that is done once is neither free, nor being done, nor done.",
        ("the same key is used with `lock acquire`", "`lock done` without `lock do`"),
        "Use another key for each purpose.",
    ),
    Code(
        "socket.path",
        "folder that cannot hold sockets",
        "The agent's local sockets need a folder of its own user, with a path that is not too long.",
        ("a long home or build path", "a folder that another user made first"),
        "Name a short folder of your own with `--sockets-path` or BUILDKITE_SOCKETS_PATH.",
    ),
    # --- upload: from a pipeline file to a build -----------------------------------------------------------------
    Code(
        "upload.no_file",
        "no pipeline file",
        "There is no file with one of the names that are looked for, or the file that was named cannot be read.",
        ("the command runs in another folder than the checkout", "the file is not in this commit", "a typing error"),
        "Name the file, or call it .buildkite/pipeline.yml.",
    ),
    Code(
        "upload.several_files",
        "several pipeline files",
        "More than one file has a name that is looked for, and only one can be meant.",
        ("a file was renamed and the old one kept",),
        "Keep one of them, or name the one to upload.",
    ),
    Code(
        "upload.empty",
        "empty pipeline file",
        "The pipeline file has no bytes in it.",
        ("a generator failed and its output was uploaded all the same",),
        "Look at what writes the file.",
    ),
    Code(
        "upload.no_job",
        "no job to upload to",
        "Steps are added to the build of a job, and no job was named.",
        ("the command was run outside of a job",),
        "Run it inside a job, give --job, or look at the result with --dry-run.",
    ),
    Code(
        "upload.warnings",
        "understood only in part",
        "Parts of the pipeline could not be read as what they seem to be, and --reject-parse-warnings refuses that.",
        ("a typing error in a step", "a kind of step that this version does not know"),
        "Correct what the warnings name.",
    ),
    Code(
        "upload.secret",
        "secret in a pipeline",
        "The pipeline holds the value of a secret variable, and --reject-secrets refuses that; who sees the build "
        "would see it.",
        ("$NAME was expanded at upload where the job was meant to do it", "a password was written into the file"),
        'Write "$$NAME" to expand it in the job, and keep values out of the file.',
    ),
    Code(
        "upload.if_changed",
        "if_changed that says nothing",
        "An if_changed is neither a pattern, nor a list of patterns, nor a mapping with include.",
        ("a typing error",),
        "Write a glob pattern, a list of them, or include and exclude. The step is not skipped meanwhile.",
    ),
    Code(
        "upload.rejected",
        "upload not taken",
        "The server took the upload in, worked on it, and did not apply it.",
        ("too many jobs for one build", "steps that depend on steps that do not exist"),
        "The server's message says why.",
    ),
)

BY_CODE: dict[str, Code] = {row.code: row for row in CODES}


def find_code(code: str) -> Code | None:
    """The row of `code`, or None when the table has no such code."""
    return BY_CODE.get(code)
