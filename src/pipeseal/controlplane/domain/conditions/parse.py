"""From a condition's text to its parts.

choice     := either [ "?" choice ":" choice ]
either     := both { "||" both }
both       := comparison { "&&" comparison }
comparison := operand { ( "==" | "!=" | "=~" | "!~" | "includes" ) operand }
operand    := "!" operand | "(" choice ")" | array | string | number | regex | name [ arguments ] | substitution
"""

from __future__ import annotations

from pipeseal.controlplane.domain.conditions.origin import Origin
from pipeseal.controlplane.domain.conditions.patterns import MAX_PROGRAM, compile_pattern
from pipeseal.controlplane.domain.conditions.syntax import (
    Array,
    Call,
    Choice,
    Comparison,
    Literal,
    Logic,
    Name,
    Node,
    Not,
    Regex,
    String,
    Substitution,
)
from pipeseal.controlplane.domain.conditions.tokens import Kind, Token, read_tokens

MAX_LENGTH = 8_192  # characters
_MAX_DEPTH = 64
_COMPARATORS = frozenset({"==", "!=", "=~", "!~", "includes"})
_LITERALS: dict[str, bool | None] = {"true": True, "false": False, "null": None}
_WORDS = {"and": "&&", "or": "||", "not": "!", "nil": "null", "None": "null", "True": "true", "False": "false"}


def parse_tree(origin: Origin) -> Node:
    """The parts of a condition.

    Raises:
        MalformedInput: `condition.malformed`, `condition.pattern`, `condition.limit`.
    """
    if len(origin.text) > MAX_LENGTH:
        raise origin.limit(0, f"a condition has at most {MAX_LENGTH} characters, this one has {len(origin.text)}")
    return _Parser(origin).parse()


class _Parser:
    def __init__(self, origin: Origin) -> None:
        self._origin = origin
        self._tokens = read_tokens(origin)
        self._index = 0
        self._depth = 0
        self._program = 0

    def parse(self) -> Node:
        tree = self._choice()
        rest = self._token
        if rest.kind is not Kind.END:
            word = _WORDS.get(rest.text) if rest.kind is Kind.NAME else None
            help = f"write `{word}`" if word else "join conditions with `&&` or `||`"
            raise self._origin.malformed(rest.at, f"unexpected {rest}", help)
        return tree

    @property
    def _token(self) -> Token:
        return self._tokens[self._index]

    def _is(self, *signs: str) -> bool:
        token = self._token
        return token.text in signs and token.kind in (Kind.SIGN, Kind.NAME)

    def _take(self) -> Token:
        token = self._token
        self._index += 1
        return token

    def _expect(self, sign: str, help: str) -> None:
        if not self._is(sign):
            raise self._origin.malformed(self._token.at, f"expected `{sign}`, found {self._token}", help)
        self._index += 1

    def _enter(self, at: int) -> None:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise self._origin.limit(at, f"a condition is at most {_MAX_DEPTH} levels deep")

    def _choice(self) -> Node:
        self._enter(self._token.at)
        condition = self._either()
        if self._is("?"):
            question = self._take()
            chosen = self._choice()
            self._expect(":", "`condition ? this : that` needs both")
            condition = Choice(question.at, condition, chosen, self._choice())
        self._depth -= 1
        return condition

    def _either(self) -> Node:
        first, at = self._both(), self._token.at
        operands = [first]
        while self._is("||"):
            self._index += 1
            operands.append(self._both())
        return Logic(at, "||", tuple(operands)) if len(operands) > 1 else first

    def _both(self) -> Node:
        first, at = self._comparison(), self._token.at
        operands = [first]
        while self._is("&&"):
            self._index += 1
            operands.append(self._comparison())
        return Logic(at, "&&", tuple(operands)) if len(operands) > 1 else first

    def _comparison(self) -> Node:
        left = self._operand()
        entered = self._depth
        while self._is(*_COMPARATORS):
            operator = self._take()
            self._enter(operator.at)  # `a == b == c` is as deep as it is long
            left = Comparison(operator.at, operator.text, left, self._operand())
        self._depth = entered
        return left

    def _operand(self) -> Node:
        token = self._take()
        match token.kind:
            case Kind.STRING:
                return String(token.at, token.template)
            case Kind.NUMBER:
                return Literal(token.at, int(token.text))
            case Kind.EXPANSION:
                assert token.expansion is not None
                return Substitution(token.at, token.expansion)
            case Kind.PATTERN:
                return self._regex(token)
            case Kind.NAME if token.text not in _COMPARATORS:
                return self._name(token)
            case Kind.SIGN if token.text == "!":
                self._enter(token.at)
                negated = Not(token.at, self._operand())
                self._depth -= 1
                return negated
            case Kind.SIGN if token.text == "(":
                inner = self._choice()
                self._expect(")", "a parenthesis is not closed")
                return inner
            case Kind.SIGN if token.text == "[":
                return Array(token.at, self._list("]"))
        raise self._origin.malformed(token.at, f"expected a value, found {token}")

    def _name(self, token: Token) -> Node:
        if token.text in _LITERALS:
            return Literal(token.at, _LITERALS[token.text])
        if self._is("("):
            self._index += 1
            return Call(token.at, token.text, self._list(")"))
        return Name(token.at, token.text)

    def _list(self, close: str) -> tuple[Node, ...]:
        items: list[Node] = []
        if self._is(close):
            self._index += 1
            return ()
        while True:
            items.append(self._choice())
            if not self._is(","):
                break
            self._index += 1
        self._expect(close, "values are separated by commas")
        return tuple(items)

    def _regex(self, token: Token) -> Regex:
        pattern = compile_pattern(self._origin, token.at, token.text, token.flags)
        self._program += pattern.size
        if self._program > MAX_PROGRAM:
            raise self._origin.limit(
                token.at, f"the regular expressions of a condition have over {MAX_PROGRAM} steps"
            )
        return Regex(token.at, pattern)
