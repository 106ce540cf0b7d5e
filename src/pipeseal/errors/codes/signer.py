"""Codes of the signer, and of uploads that go through it."""

from pipeseal.errors.codes.row import Code

ROWS: tuple[Code, ...] = (
    # --- its file, and how it starts ----------------------------------------------------------------------------
    Code(
        "signer.syntax",
        "signer's file cannot be read",
        "The signer's file is not TOML, too long, or does not say which version of its format it is written in.",
        ("a bracket or a quote is missing", "the file is another program's"),
        "Mend the line that is shown; begin the file with `version = 1`.",
    ),
    Code(
        "signer.key",
        "unknown key in the signer's file",
        "The file has a key that nobody knows, so what its author meant would not happen.",
        ("a key is misspelt", "a key stands in the wrong part of the file", "the file is for a newer version"),
        "Use the key that is suggested; docs/how-to/signer.md has them all.",
    ),
    Code(
        "signer.setting",
        "value in the signer's file",
        "A key of the signer's file has a value that it cannot have, or is missing.",
        ("a path does not begin with /", "a list is empty", "a constant has a name that is the build's"),
        "Mend the line that is shown.",
    ),
    Code(
        "signer.user",
        "no such user or group",
        "The signer's file names a user or group that this machine does not have.",
        ("the user was not created yet", "the name is misspelt"),
        "Create the user, or name the one that agents and jobs run as.",
    ),
    Code(
        "signer.unreadable",
        "signer's file or folder cannot be read",
        "The signer's file cannot be read, or its folder cannot be made.",
        ("the path is wrong", "the file is not readable for the signer's user"),
        "Check the path, and who may read it.",
    ),
    Code(
        "signer.permissions",
        "others can read or change what the signer holds",
        "The signer's key, file or folder can be read or changed by another user, so the signer does not start.",
        ("the file was copied with a wide mode", "a folder above it is writable for a group"),
        "chmod 0600 the file, 0700 the folder, and let them belong to the signer's user.",
    ),
    Code(
        "signer.observes",
        "policy does not enforce",
        'The signer\'s policy says `mode = "observe"` or `"warn"`: it would refuse nothing, and sign everything.',
        ("the agents' policy, which does not enforce yet, is used for the signer too",),
        "Give the signer a policy that enforces.",
    ),
    Code(
        "signer.socket",
        "no socket",
        "The signer cannot listen at the path it was given.",
        ("another signer listens there", "the folder is not there, or not writable", "the path is too long"),
        "Give --socket another path, or stop the other signer.",
    ),
    Code(
        "signer.state",
        "signer cannot write down what it grants",
        "What was granted must be on the disk before anything is signed, and it cannot be written. Nothing is "
        "signed.",
        ("the disk is full", "the folder belongs to another user", "the database was damaged"),
        "Make room, or mend the folder. If the database is damaged, stop the signer and move it away: grants that"
        " were not used are then worth nothing.",
    ),
    # --- asking it ----------------------------------------------------------------------------------------------
    Code(
        "signer.unavailable",
        "signer does not answer",
        "Nobody answers at the signer's socket, or not to an end.",
        ("the signer does not run", "this user may not use its socket", "it is still fetching a large repository"),
        "Start it, or look at its log; then run the job again.",
    ),
    Code(
        "signer.busy",
        "too many ask the signer",
        "More jobs ask the signer at the same time than it serves.",
        ("many jobs upload at once", "a job opens connections to keep others out"),
        "Run the job again.",
    ),
    Code(
        "signer.request",
        "not a request",
        "What came over the signer's socket is not a request of its protocol, or too long, or never ends.",
        ("agent and signer are of different versions", "a job tries what the signer makes of nonsense"),
        "Install the same version for agents and signer.",
    ),
    Code(
        "signer.answer",
        "not a signer's answer",
        "What answered at the signer's socket is no signer of this version.",
        ("agent and signer are of different versions", "another program listens there"),
        "Install the same version for agents and signer; check `signer-socket`.",
    ),
    Code(
        "signer.fault",
        "signer itself failed",
        "The signer failed where it should not have. Nothing was signed.",
        ("this version has a fault",),
        "Report it with the signer's log.",
    ),
    Code(
        "signer.not_allowed",
        "this user may not ask",
        "The process that asked runs as a user that may not ask for this: only supervisors have uploads granted, "
        "only jobs use them.",
        (
            "agents or jobs run as another user than the signer's file says",
            "a job tries to have itself granted an upload",
        ),
        "Put the right users into `supervisors` and `jobs`.",
    ),
    # --- may this job upload? ------------------------------------------------------------------------------------
    Code(
        "signer.not_upload_step",
        "step may not upload",
        "The job is proven, and the signer's file does not say that its step may upload.",
        (
            "the upload is part of a longer command, or has options",
            "an [[upload]] names other pipelines, steps or commands",
            "a job that is not an upload step tries to have something signed",
        ),
        "Make the upload a step of its own, or add an [[upload]] for the step.",
    ),
    Code(
        "signer.unbound",
        "upload step bound to too little",
        "The upload step is not sealed for one organisation and pipeline, or its job names no build: the control "
        "plane could choose whose steps are signed.",
        ("it was signed without --organization-slug and --pipeline-slug",),
        "Sign it again with both.",
    ),
    Code(
        "signer.no_grant",
        "upload not granted",
        "The job has a signer and was granted no upload.",
        (
            "its step is not one that may upload",
            "the signer did not run when the job began",
            "a job that is not an upload step tries to upload",
        ),
        "The beginning of the job's log says why.",
    ),
    Code(
        "signer.unknown",
        "never granted",
        "The job shows something that the signer never granted.",
        ("the signer's folder was emptied since", "a job invents a capability"),
        "Run the job again.",
    ),
    Code(
        "signer.other_job",
        "granted to another job",
        "The upload was granted to another job than the one that uses it.",
        ("--job names another job", "a job took the capability of another one"),
        "Upload from the job that the upload was granted to.",
    ),
    Code(
        "signer.used",
        "used already",
        "A job has its pipeline signed once. This one had.",
        ("the step uploads twice", "the upload failed after it was signed, and is tried again"),
        "Upload everything in one call. To try again, run the job again.",
    ),
    Code(
        "signer.ended",
        "job is over",
        "The upload was granted to a job that has ended, or by a signer that was started again since.",
        (
            "the signer was restarted while the job ran",
            "a process that a job left behind tries to have something signed",
        ),
        "Run the job again.",
    ),
    # --- what is signed -------------------------------------------------------------------------------------------
    Code(
        "signer.option",
        "option that a signer does not know",
        "Where a signer signs, it alone decides how. Options that change what is signed are refused.",
        ("a script was written for uploads that sign by themselves", "a variable sets the option"),
        "Leave the option or the variable out.",
    ),
    Code(
        "signer.file",
        "not a file that this step may upload",
        "The file is not one that the step names, or leads out of the repository, or is not a regular file of the"
        " commit, or is too large.",
        (
            "the file is a symbolic link, or is in a submodule",
            "the file was made by the job and is not part of the commit",
            "a job asks for a file that its step does not name",
        ),
        "Commit the file, and name it in the upload step's command.",
    ),
    Code(
        "signer.taint",
        "variable that nobody vouches for",
        "The pipeline file uses a variable whose value, or whose absence, is the control plane's choice. It would"
        " become part of what is signed.",
        (
            "the pipeline uses a variable of the build such as its message or number",
            "the pipeline has a default for a variable that is set elsewhere",
            "somebody sets a variable to change what is signed",
        ),
        "Write `$$NAME`, so that it is expanded when the job runs; or set it in the pipeline's `env`; or declare "
        "it in the signer's file.",
    ),
    Code(
        "signer.value",
        "value that a shell could misread",
        "A branch or tag has characters that a shell takes for more than text, and the pipeline puts it into what"
        " is signed.",
        ("a branch has an unusual name", "somebody pushed a branch whose name is a command"),
        "Rename the branch, or write `$$NAME` and quote it.",
    ),
    Code(
        "signer.templates",
        "file of templates",
        "The file of templates for generated steps cannot be understood.",
        ("a hole is used and not declared", "two holes stand side by side", "a pattern is no regular expression"),
        "Mend what is named.",
    ),
    Code(
        "signer.generated",
        "generated step from no template",
        "The job generated a pipeline with something in it that no template of the commit allows, or its step may"
        " generate none.",
        (
            "a template is missing, or differs a little from what the program generates",
            "a hole is filled with something that it does not admit",
            "what the generator read was written by somebody else",
        ),
        "Add a template, or change what is generated.",
    ),
)
