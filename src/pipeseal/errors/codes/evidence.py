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
            "you read as a stranger, and the step names secrets or agents",
            "the server is older than the step's form",
            "the server keeps it to itself",
        ),
        "Sign in or use a token, and check again; then ask whoever runs the server.",
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
)
