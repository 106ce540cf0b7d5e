"""Codes of signing and verifying: signatures, fields, payloads, keys."""

from pipeseal.errors.codes.row import Code

ROWS: tuple[Code, ...] = (
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
        "no such place for keys",
        "A key's URI names no place where keys are kept, or not well enough to find the key there.",
        (
            "the URI has a typing error, or lacks a part",
            "the library for that kind of key store is not installed (`pipeseal[aws]`, `[gcp]`, `[pkcs11]`)",
            "a URI was given where a file of public keys is needed",
        ),
        "Give the path of a key file, or a URI as docs/how-to/kms-and-hsm.md has them.",
    ),
    Code(
        "key.credentials",
        "nothing to prove who asks for a key",
        "The key is in a token or service that wants a PIN, a token or credentials, and there are none, or they are "
        "wrong.",
        ("the variables or files with them are missing where the program runs", "the PIN or token was changed"),
        "See docs/how-to/kms-and-hsm.md for where each kind of key looks for them.",
    ),
    Code(
        "key.service",
        "key service that does not serve",
        "The service or token that keeps the signing key did not answer in time, or refused.",
        (
            "the network, or the service, is down",
            "these credentials may not use the key, or the key was disabled",
            "the HSM or token was taken out",
        ),
        "Read what the service said, mend that, and try again: nothing was signed.",
    ),
    Code(
        "key.wrong_signature",
        "signature that is not the key's",
        "What a key service or token gave as a signature does not verify with the key's own public half.",
        (
            "the key was rotated or replaced while it was in use",
            "the service or token has a fault",
            "somebody stands between this program and the service",
        ),
        "Try again; if it stays so, publish the key's public half anew and look at the service.",
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
)
