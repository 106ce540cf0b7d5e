"""Codes of the agent and of the commands inside a job."""

from pipeseal.errors.codes.row import Code

ROWS: tuple[Code, ...] = (
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
        "broker.call",
        "call that a job may not make",
        "A command in the job asked its agent to pass on a call of the Agent API that only an agent makes, such as "
        "saying how the job ended, or one about another job.",
        (
            "a script calls the Agent API by itself, with an address or job id it has from elsewhere",
            "something in the job tries to forge its result or its log",
        ),
        "Use the commands of buildkite-agent inside jobs; they make no such call.",
    ),
    Code(
        "upload.rejected",
        "upload not taken",
        "The server took the upload in, worked on it, and did not apply it.",
        ("too many jobs for one build", "steps that depend on steps that do not exist"),
        "The server's message says why.",
    ),
)
