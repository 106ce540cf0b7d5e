"""Conditions: what they decide, what they refuse and where they point; nothing else ever comes out of them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeseal.controlplane.domain.conditions import (
    VARIABLES,
    ConditionFacts,
    MatchBudget,
    Place,
    Variable,
    evaluate_condition,
    parse_condition,
)
from pipeseal.errors import MalformedInput, render_error

Values = Mapping[str, str | int | bool | Sequence[str] | None]
ENV = {
    "BUILDKITE_BRANCH": "feature/login",
    "BUILDKITE_TAG": "",
    "DEPLOY": "yes",
    "EMPTY": "",
    "NAME": "abcdef",
    "THREE": "3",
}
FACTS: Values = {
    "build.author.email": "",
    "build.branch": "feature/login",
    "build.creator.teams": ["deploy", "platform"],
    "build.message": "Add login\n\n[Skip Tests] for now",
    "build.number": 42,
    "build.pull_request.base_branch": "main",
    "build.pull_request.draft": None,
    "build.pull_request.id": "7",
    "build.pull_request.labels": ("safe to test",),
    "build.source": "webhook",
    "build.tag": "",
    "organization.slug": "acme",
    "pipeline.slug": "api",
}


def decide(text: str, values: Values = FACTS, env: Mapping[str, str] = ENV, place: Place = Place.STEP) -> bool:
    return evaluate_condition(parse_condition(text, source="if", place=place), ConditionFacts(values, env))


def refusal(text: str, place: Place = Place.STEP) -> MalformedInput:
    with pytest.raises(MalformedInput) as caught:
        parse_condition(text, source="if", place=place)
    return caught.value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # comparison
        ('build.branch == "feature/login"', True),
        ("build.branch == 'feature/login'", True),
        ('build.branch != "production"', True),
        ('"feature/login" == build.branch', True),
        ("build.number == 42", True),
        ("build.number != 42", False),
        ("build.number == null", False),
        ('build.pull_request.base_branch == "main"', True),
        ('pipeline.slug == "api" && organization.slug == "acme"', True),
        ('["a", "b"] == ["a", "b"]', True),
        ('["a", "b"] == ["b", "a"]', False),
        ("1 == 1 == true", True),
        # null
        ("build.tag == null", True),
        ("build.tag != null", False),
        ("build.author.email == null", True),
        ("build.merge_queue.base_branch == null", True),
        ("!build.pull_request.draft", True),
        ("build.pull_request.draft || false", False),
        ("build.pull_request.draft", False),
        ("build.pull_request.draft == null ? false : build.pull_request.draft", False),
        # regular expressions
        (r"build.branch =~ /^feature\//", True),
        ("build.branch =~ /login$/", True),
        ("build.branch =~ /LOGIN/", False),
        ("build.branch =~ /LOGIN/i", True),
        (r"build.message !~ /\[skip tests\]/i", False),
        ("build.message =~ /^Add.*now$/", False),
        ("build.message =~ /(?s)^Add.*now$/", True),
        (r"build.message =~ /(?m)^\[Skip/", True),
        (r'"fee$" =~ /fee\$$/', True),
        ("build.tag =~ /./", False),
        ("build.tag !~ /./", True),
        ('"v1" =~ /^v[[:digit:]]$/', True),
        ('"naïve" =~ /^na.ve$/', True),
        # look-ahead behind `^`
        ("build.branch =~ /^(?!main$|dev$)/", True),
        ("build.branch =~ /^(?!feature)/", False),
        ("build.branch =~ /^(?!release)(?=.*login)feature/", True),
        ("build.branch =~ /^(?!release)(?=.*logout)feature/", False),
        (r'"a)b" =~ /^(?![)]|\))a/', True),
        (r'")b" =~ /^(?![)]|\))/', False),
        ('"]x" =~ /^(?![])])/', False),
        # arrays
        ('build.creator.teams includes "deploy"', True),
        ('build.creator.teams includes "Deploy"', False),
        ("build.creator.teams includes /^plat/", True),
        ("build.creator.teams includes null", False),
        ('build.pull_request.labels includes "safe to test"', True),
        ('["main", "feature/login"] includes build.branch', True),
        ('["ui", "webhook"] includes build.source', True),
        ("[] includes build.branch", False),
        ('[build.tag] includes ""', False),
        ('build.author.teams includes "deploy"', False),
        # logic
        ("true || false && false", True),
        ("(true || false) && false", False),
        ("!false && !(true && false)", True),
        ("!true == false", True),
        ("false ? true : false ? false : true", True),
        ("true ? false : true", False),
        # comments
        (
            '// only on features\nbuild.branch =~ /^feature/ // really\n && // and\n build.source == "webhook"\n//',
            True,
        ),
        # environment
        ('build.env("DEPLOY") == "yes"', True),
        ('build.env("MISSING") == null', True),
        ('build.env("EMPTY") == ""', True),
        ('env("MISSING") == ""', True),
        ('build.env("BUILDKITE_BRANCH") == build.branch', True),
        ('build.env("DEP${NOPE:-LOY}") == "yes"', True),
        # substitutions
        ('$DEPLOY == "yes"', True),
        ('$DEPLOY.x == "yes.x"', True),
        ("$MISSING == null", True),
        ('${MISSING} == null && "${MISSING}" == ""', True),
        ('${MISSING-no} == "no" && ${EMPTY-no} == "" && ${EMPTY:-no} == "no"', True),
        ('${DEPLOY+set} == "set" && ${EMPTY:+set} == "" && ${MISSING+set} == ""', True),
        ('${DEPLOY?} == "yes"', True),
        ('${NAME:2} == "cdef" && ${NAME:0:2} == "ab" && ${NAME: -2} == "ef" && ${NAME:1:-2} == "bcd"', True),
        ('${NAME:99} == "" && ${NAME:-2:1} == "abcdef"', True),
        ('${NAME:${THREE}:$THREE} == "def"', True),
        ("${MISSING:1} == null", True),
        ('${MISSING:-"a }" b} == "a } b"', True),
        ("${MISSING:-'$DEPLOY'} == '$DEPLOY'", True),
        ('${MISSING:-${ALSO:-deep}} == "deep"', True),
        ('"a-$DEPLOY-${THREE}" == "a-yes-3"', True),
        ('"costs $$5, or $ 5" == "costs $5, or $ 5"', True),
        ("'$DEPLOY' == 'yes'", False),
        # escapes
        (r'"tab\tnew\nA\x41\101\"" == "tab' + "\t" + "new\n" + 'AAA\\""', True),
        (r'"\xc3\xa9" == "é"', True),
        (r"'\n' == " + r'"\\n"', True),
        (r"'it\'s' == " + '"it' + "'" + 's"', True),
        # blank is no condition at all
        ("", True),
        (" \n\t ", True),
    ],
)
def test_decisions(text: str, expected: bool) -> None:
    assert decide(text) is expected


def test_what_is_not_needed_is_not_evaluated() -> None:
    assert decide('true || ${MISSING:?} == "x"')
    assert not decide('false && ${MISSING:?} == "x"')
    assert decide('true ? true : ${MISSING:?} == "x"')


@pytest.mark.parametrize(
    ("text", "code", "column", "words"),
    [
        ('build.branch = "main"', "condition.malformed", 14, "write `==`"),
        ('build.branch == "main" & true', "condition.malformed", 24, "write `&&`"),
        ('build.branch == "main" and true', "condition.malformed", 24, "write `&&`"),
        ('build.branch == "main" true', "condition.malformed", 24, "join conditions"),
        ("build.number > 3", "condition.malformed", 14, "only equality"),
        ('["a"] @> build.branch', "condition.malformed", 7, "includes"),
        ('meta-data("x") == null', "condition.malformed", 5, "dots"),
        ("(true", "condition.malformed", 6, "parenthesis"),
        ("true)", "condition.malformed", 5, "unexpected"),
        ('["a" "b"] includes build.branch', "condition.malformed", 6, "commas"),
        ('["a",] includes build.branch', "condition.malformed", 6, "expected a value"),
        ("true ? false", "condition.malformed", 13, "needs both"),
        ('build.branch == "main', "condition.malformed", 17, "not closed"),
        ("build.branch =~ /main", "condition.malformed", 17, "not closed"),
        ("build..branch == null", "condition.malformed", 1, "dot"),
        ("build.branch. == null", "condition.malformed", 1, "dot"),
        ("build.number == 1.5", "condition.malformed", 17, "whole numbers"),
        ("build.number == 4e3", "condition.malformed", 17, "whole numbers"),
        ("build.number == " + "9" * 19, "condition.malformed", 17, "digits"),
        (r'"\400" == ""', "condition.malformed", 2, "one byte"),
        ("$ == null", "condition.malformed", 1, "name of a variable"),
        ('"${5}" == null', "condition.malformed", 2, "name of a variable"),
        ("${A == null", "condition.malformed", 4, "cannot stand"),
        ("${A:-b == null", "condition.malformed", 1, "not closed"),
        ("${A:-'b} == null", "condition.malformed", 6, "not closed"),
        ("// build.branch == null", "condition.malformed", 24, "expected a value"),
        ("build.branch == “main”", "condition.malformed", 17, "straight quotes"),
        ("true \0", "condition.malformed", 6, "U+0000"),
        ("build.brunch == null", "condition.unknown_name", 1, "did you mean `build.branch`?"),
        ("true || build.pull_request.lables includes null", "condition.unknown_name", 9, "build.pull_request.labels"),
        ("main == build.branch", "condition.unknown_name", 1, "quotes"),
        ("build.env == null", "condition.unknown_name", 1, "is a function"),
        ("build.meta_data.x == null", "condition.unknown_name", 1, ""),
        ('built.env("X") == null', "condition.unknown_name", 1, "did you mean `build.env`?"),
        ('starts_with(build.branch, "x")', "condition.unknown_name", 1, "only function"),
        ('build.env("BUILDKITE_BRANHC") == null', "condition.unknown_name", 11, "BUILDKITE_BRANCH"),
        ('build.env("BUILDKITE_AGENT_ACCESS_TOKEN") == null', "condition.unknown_name", 11, "before a job runs"),
        ('build.env("$$HOME") == null', "condition.unknown_name", 11, 'write "HOME"'),
        ('build.env("a b") == null', "condition.unknown_name", 11, "no name"),
        ("step.outcome == null", "condition.unknown_name", 1, "step notification"),
        ("pipeline.started_failing", "condition.unknown_name", 1, "build notification"),
        ("build.branch", "condition.type", 1, "!= null"),
        ("null", "condition.type", 1, "true or false"),
        ('"true"', "condition.type", 1, "true or false"),
        ('build.number == "42"', "condition.type", 14, "a number and a string"),
        ("build.creator.teams == build.branch", "condition.type", 21, "array"),
        ('build.branch =~ "main"', "condition.type", 17, "regular expression"),
        ("/main/ =~ build.branch", "condition.type", 1, "left side"),
        ("build.branch == /main/", "condition.type", 17, "compare with `=~`"),
        ("build.number =~ /4/", "condition.type", 1, "must be a string"),
        ('build.branch includes "x"', "condition.type", 1, "array"),
        ("build.creator.teams includes 3", "condition.type", 30, "string or a regular expression"),
        ('["a", 3] includes "a"', "condition.type", 7, "holds strings"),
        ('build.env("DEPLOY") && true', "condition.type", 1, "!= null"),
        ('!build.env("DEPLOY")', "condition.type", 2, "!= null"),
        ("build.number ? true : false", "condition.type", 1, "before `?`"),
        ('(true ? "a" : 3) == null', "condition.type", 7, "one kind"),
        ('build.state == "faillled"', "condition.type", 16, 'did you mean "failed"?'),
        ('"manual" != build.source', "condition.type", 1, "one of: api"),
        ('build.env("A", "B") == null', "condition.type", 1, "takes one name, not 2"),
        ("build.env() == null", "condition.type", 1, "takes one name, not 0"),
        ("build.env(3) == null", "condition.type", 11, "name of a variable"),
        ("build.branch =~ /main/x", "condition.pattern", 17, "only flag"),
        ("build.branch =~ /(main/", "condition.pattern", 18, "missing )"),
        ("build.branch =~ /a**/", "condition.pattern", 19, "bad repetition"),
        ("build.branch =~ /(?<=a)b/", "condition.pattern", 18, "straight after `^`"),
        ("build.branch =~ /a(?!b)/", "condition.pattern", 19, "straight after `^`"),
        ("build.branch =~ /^(?!a)b|c/", "condition.pattern", 17, "parentheses around"),
        ("build.branch =~ /^(?!a(b/", "condition.pattern", 17, "not closed"),
        ("build.branch =~ /^(?!(?!x)a)b/", "condition.pattern", 22, "not supported"),
        (r"build.branch =~ /(a)\1/", "condition.pattern", 21, "escape"),
        (r"build.branch =~ /\C/", "condition.pattern", 17, "not supported"),
        ("build.branch =~ /a{1000}{1000}/", "condition.pattern", 19, "repetition"),
        ("build.branch =~ /(a{900}){9}/", "condition.pattern", 26, "repetition size"),
        ("build.branch =~ /" + "(a{900})" * 4 + "/", "condition.limit", 17, "too large"),
        ('"' + "x" * 9000 + '" == null', "condition.limit", 1, "8192"),
        ("(" * 80 + "true" + ")" * 80, "condition.limit", 65, "64"),
        ("!" * 80 + "true", "condition.limit", 64, "64"),
        ("true" + " == true" * 80, "condition.limit", 510, "64"),
        ("${A:-" * 40 + "}" * 40 + " == null", "condition.limit", 86, "16"),
        (" || ".join(["build.branch =~ /a{900}/"] * 4), "condition.limit", 101, "steps"),
    ],
)
def test_refusals_name_the_place_and_the_remedy(text: str, code: str, column: int, words: str) -> None:
    error = refusal(text)
    assert error.code == code, error
    assert error.position is not None
    assert (error.position.line, error.position.column) == (1, column), render_error(error)
    assert words in f"{error.message} {error.help}", error


def test_the_caret_stands_under_the_character_of_a_later_line() -> None:
    error = refusal('build.branch == "main" &&\n    build.mesage =~ /x/\r\n || true')
    assert render_error(error).splitlines()[:3] == [
        "error[condition.unknown_name]: if:2:5: there is no variable `build.mesage`",
        "    2 |     build.mesage =~ /x/",
        "      |     ^",
    ]


def test_variables_are_known_in_their_places_only() -> None:
    assert decide('step.outcome == "hard_failed"', {"step.outcome": "hard_failed"}, place=Place.STEP_NOTIFICATION)
    assert decide('step.key == "deploy"', {"step.key": "deploy"}, place=Place.BUILD_NOTIFICATION)
    assert decide("pipeline.started_failing", {"pipeline.started_failing": True}, place=Place.BUILD_NOTIFICATION)
    assert refusal("pipeline.started_passing", Place.STEP_NOTIFICATION).code == "condition.unknown_name"
    assert refusal('step.type == "wait"', Place.BUILD).code == "condition.unknown_name"


@pytest.mark.parametrize("row", VARIABLES, ids=lambda row: row.name)
def test_every_variable_can_be_null(row: Variable) -> None:
    assert decide(f"{row.name} == null", {}, place=Place.BUILD_NOTIFICATION)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ('${MISSING:?} == "x"', "condition.value"),
        ('${EMPTY:?} == "x"', "condition.value"),
        ('${NAME:$DEPLOY} == "x"', "condition.value"),
        ('${NAME:1:x} == "x"', "condition.value"),
        ("build.env($MISSING) == null", "condition.value"),
        ('build.env("BUILDKITE_${MISSING:-SECRET}") == null', "condition.unknown_name"),
        ('build.env("$EMPTY") == null', "condition.unknown_name"),
    ],
)
def test_values_that_cannot_be_worked_with(text: str, code: str) -> None:
    with pytest.raises(MalformedInput) as caught:
        decide(text)
    assert caught.value.code == code
    assert caught.value.position is not None


def test_regular_expressions_cost_linear_time() -> None:
    started = time.perf_counter()
    subject = {"build.message": "a" * 60_000 + "b"}
    assert not decide(r"build.message =~ /^(a+)+$/", subject)
    assert not decide(r"build.message =~ /^(a|a)*$/", subject)
    assert not decide(r"build.message =~ /(.*)(.*)(.*)(.*)(.*)[^ab]/", subject)
    assert time.perf_counter() - started < 60  # a backtracking engine would not come back


def test_matching_has_a_budget() -> None:
    long = {"build.message": "a" * 65_000}
    assert not decide("build.message =~ /x/", long)
    for text in ("build.message =~ /a{900}b/", " || ".join(["build.message =~ /a{90}b/"] * 9)):
        with pytest.raises(MalformedInput) as caught:
            decide(text, long)
        assert caught.value.code == "condition.limit"
        assert caught.value.position is not None


def test_conditions_can_share_a_budget() -> None:
    condition = parse_condition("build.message =~ /abc/", source="if")
    facts = ConditionFacts({"build.message": "x" * 1_000})
    budget = MatchBudget(20_000)
    assert not evaluate_condition(condition, facts, budget)
    with pytest.raises(MalformedInput):
        for _ in range(20):
            evaluate_condition(condition, facts, budget)


@pytest.mark.parametrize(
    "values", [{"build.brunch": "x"}, {"build.number": "42"}, {"build.number": True}, {"build.branch": ["x"]}]
)
def test_facts_are_those_of_the_table(values: Values) -> None:
    with pytest.raises(ValueError, match="build"):
        ConditionFacts(values)


# --- whatever the text ---------------------------------------------------------------------------------------------

WORDS = st.sampled_from(
    [row.name for row in VARIABLES]
    + [
        "true",
        "false",
        "null",
        "includes",
        "&&",
        "||",
        "!",
        "==",
        "!=",
        "=~",
        "!~",
        "(",
        ")",
        "[",
        "]",
        ",",
        "?",
        ":",
    ]
    + ['"x"', "'y'", '"$A"', "$A", "${A:-b}", "${A:1:2}", "/x/", "/^(?!x)/i", 'build.env("A")', "7", "//", "\n"]
)


@given(st.one_of(st.text(max_size=60), st.lists(WORDS, max_size=12).map(" ".join)), st.sampled_from(Place))
def test_only_our_errors_come_out_and_they_point_into_the_text(text: str, place: Place) -> None:
    try:
        condition = parse_condition(text, source="if", place=place)
        assert evaluate_condition(condition, ConditionFacts(FACTS, ENV)) in (True, False)
    except MalformedInput as error:
        assert error.code.startswith("condition.")
        assert error.position is not None
        lines = text.split("\n")
        assert 1 <= error.position.line <= len(lines)
        assert 1 <= error.position.column <= len(lines[error.position.line - 1]) + 1
        assert render_error(error)


@given(st.text(alphabet="${}:-+?abc\"\\'. 01$", max_size=40))
def test_substitutions_never_end_in_another_error(text: str) -> None:
    try:
        decide(f"{text} == null")
        decide(f'"{text}" == null')
    except MalformedInput as error:
        assert error.code.startswith("condition.")


@given(st.text(alphabet="^$()[]{}?=!<>|*+.\\abC:1,", max_size=30))
def test_regular_expressions_never_end_in_another_error(text: str) -> None:
    try:
        decide(f"build.branch =~ /{text}/")
    except MalformedInput as error:
        assert error.code.startswith("condition.")


# An expression together with what it must come to, built from smaller ones.
Known = tuple[str, bool]
LEAVES: list[Known] = [
    ("true", True),
    ("false", False),
    ("build.number == 42", True),
    ("build.branch =~ /^main/", False),
    ("build.pull_request.draft", False),
]


def _grow(known: st.SearchStrategy[Known]) -> st.SearchStrategy[Known]:
    return st.one_of(
        known.map(lambda a: (f"({a[0]})", a[1])),
        known.map(lambda a: (f"!({a[0]})", not a[1])),
        st.lists(known, min_size=2, max_size=4).map(
            lambda items: (" && ".join(f"({text})" for text, _ in items), all(value for _, value in items))
        ),
        st.lists(known, min_size=2, max_size=4).map(
            lambda items: (" || ".join(f"({text})" for text, _ in items), any(value for _, value in items))
        ),
        st.tuples(known, known, known).map(
            lambda abc: (f"({abc[0][0]}) ? ({abc[1][0]}) : ({abc[2][0]})", (abc[1] if abc[0][1] else abc[2])[1])
        ),
    )


@given(st.recursive(st.sampled_from(LEAVES), _grow, max_leaves=12))
def test_logic_is_logic(known: Known) -> None:
    text, expected = known
    assert decide(text) is expected


@given(st.text(max_size=40))
def test_a_quoted_text_is_that_text(text: str) -> None:
    quoted = "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
    assert decide(f"build.branch == {quoted}", {"build.branch": text})
    double = '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$") + '"'
    assert decide(f"build.branch == {double}", {"build.branch": text})
