"""Codes of evidence: what a control plane shows of a build's steps, checked outside of its pages."""

from pipeseal.errors.codes.row import Code

ROWS: tuple[Code, ...] = (
    Code(
        "evidence.malformed",
        "unreadable evidence",
        "A file is not the evidence of a build, or a control plane's answer is not one.",
        ("another file was meant", "the file was cut short on its way", "a newer server saved it"),
        "Save the evidence again on the build's Trust tab, or give the build's address.",
    ),
    Code(
        "evidence.missing",
        "evidence that is not delivered",
        "A control plane shows a job and does not deliver what its signature covers, so nothing can be checked.",
        (
            "the server is older than the step's form",
            "the server keeps it to itself",
        ),
        "Check again with a token of more scopes; then ask whoever runs the server.",
    ),
    Code(
        "evidence.withheld",
        "evidence that strangers do not get",
        "A control plane shows a build to everybody, and keeps from strangers what a step's signature covers, since "
        "that holds more than public pages show: a seal, names of secrets, or variables of the build.",
        (
            "you read a public build without a token, and its steps are sealed",
            "the server keeps to itself what it could show",
        ),
        "Check again with an API token (`--token-file`), or have a member check it or send you the saved evidence.",
    ),
    Code(
        "evidence.differs",
        "signed for something else",
        "A step's signature is right, and it is for another build, pipeline or command than it is shown with.",
        (
            "the build was changed by hand in the server's database",
            "a step of another build is shown in the place of this one",
        ),
        "Do not believe what the page shows; keep the evidence, and look at what ran in the agent's own records.",
    ),
    Code(
        "evidence.keys",
        "nobody to believe",
        "`pipeseal verify` was not told whose signatures count. It takes no keys from the server it checks, unless a "
        "thumbprint says which.",
        ("the part of the link behind `#` was lost", "the key file is in another place than `~/.config/pipeseal`"),
        "Give `--jwks-file FILE`, or `--pin THUMBPRINT` from somebody you trust.",
    ),
    Code(
        "evidence.page",
        "the verifier cannot be written",
        "The one-file verifier could not be saved where it should be; nothing that exists is overwritten.",
        ("there is such a file already", "the folder is another user's"),
        "Name a new file: `pipeseal verify --page FILE`.",
    ),
    Code(
        "key.pin",
        "not a thumbprint",
        "A pin has to be the whole thumbprint of a key (RFC 7638, SHA-256): 43 characters.",
        (
            "the link was cut short on its way",
            "the digits or the key's id were given in its place",
            "a character was lost in copying",
        ),
        "Copy the thumbprint again, from `pipeseal keys show ID` or the line of `pipeseal init`.",
    ),
)
