"""Group G: having the signer sign what nobody asked for."""

from __future__ import annotations

from pipeseal.lab.scenario import Scenario

_WHAT = (
    ("G01", "The first upload step, unsigned", ("CP", "UI"), "the step in the pipeline's settings"),
    ("G02", "The upload step at a commit of the attacker's", ("CP", "PR"), "the commit of a genuine upload step"),
    (
        "G03",
        "Values of the server, put into commands",
        ("CP", "UI", "PR"),
        "`BUILDKITE_BRANCH`, `BUILDKITE_MESSAGE`, ...",
    ),
    ("G04", "Undeclared variables with defaults", ("CP", "UI"), "`DEPLOY_TARGET`, for `${DEPLOY_TARGET:-staging}`"),
    ("G05", "How an upload works, switched by variables", ("CP",), "`BUILDKITE_PIPELINE_NO_INTERPOLATION` and kin"),
    ("G06", "Any job uploads", ("PR", "PLG"), "`pipeline upload` in a test script"),
    ("G07", "Signed for another repository", ("PR", "PLG"), "`BUILDKITE_REPO` for one upload"),
    ("G08", "The private key, read by a job", ("PR", "PLG", "RUN"), "the file that the key is in"),
    ("G09", "The private key, mounted into containers", ("PR", "PLG"), "volumes of a pod"),
    ("G10", "Pipelines made from untrusted input", ("PR",), "a script of a pull request prints the pipeline"),
    ("G11", "Pipelines made from the server's data", ("CP",), "meta-data, steps, artifacts, annotations"),
    ("G12", "Files that two parsers read in two ways", ("CP", "PR"), "anchors, merge keys, several documents, ..."),
    ("G13", "Settings signed blindly", ("CP",), "what `tool sign` fetches from the server"),
    ("G14", "Steps that are not signed", ("CP",), "trigger, input, group and wait steps"),
)

SCENARIOS = tuple(
    Scenario(id=number, title=title, actors=actors, change=change, happens="", not_yet="the signer is not drilled")
    for number, title, actors, change in _WHAT
)
