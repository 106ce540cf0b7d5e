"""Codes of the control plane."""

from pipeseal.errors.codes.row import Code

ROWS: tuple[Code, ...] = (
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
        "access.other_agent",
        "stream asked for in another agent's name",
        "An agent asked for a stream of pings and gave an id that is not the one its session token belongs to.",
        ("a client mixes up the sessions of two agents", "somebody tries what a session token opens"),
        "Ask with the id that the server gave when the agent registered.",
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
        "stream.unheard",
        "agent that does not hear its stream",
        "A job was told to the agent on a stream, the stream stood, and the job was not accepted within "
        "`--accept-timeout`. Until it registers again the agent is answered 404 and polls.",
        (
            "a proxy before the server keeps answers until they are whole",
            "the agent's computer was overloaded or asleep",
        ),
        "Nothing needs to be done; let the proxy pass `/agentedge.v1.AgentEdgeService/` unbuffered, or start the "
        "server with `--no-streaming-pings`.",
    ),
    Code(
        "stream.silent_job",
        "stream of an agent whose job is silent",
        "The agent asks for a stream while a job is in its hands that has not been heard of for minutes. A ping, "
        "which an agent sends only when it has no job, would show that it gave the job up.",
        (
            "the job has ended and its agent still tries to report that",
            "the server was away for long and the agent gave up reporting",
        ),
        "Nothing needs to be done: the agent pings by itself.",
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
        "state.unfinished",
        "still being written",
        "Somebody deleted a log or an artifact that is still being written.",
        ("the job runs", "the upload of the artifact is not over", "the job has not begun, and has no log"),
        "Wait until the job has ended, or cancel it, and try again.",
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
)
