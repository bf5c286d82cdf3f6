"""Parse the answer as openCypher, hold it against the case's graph, and compare it with the reference query.

    answer -> ANTLR parse tree -> labels, types and properties that the graph has? -> canonical tokens, equal?

Measures: parses, valid, exact (decides), exact_anywhere. The case's data: {"graph": "Person(name, age); City(name);
(Person)-[:LIVES_IN]->(City)"}, as in `graph.py`; without it every query that parses is valid.
Promise: two queries are the same when they differ only in names of variables, letter case of keywords and functions,
kind of quotes, white space and a final semicolon.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from expert_system.errors import ConfigError, PackageError
from expert_system.training.checkers.bare import first_statement
from expert_system.training.checkers.graph import Graph, read_graph
from expert_system.training.checkers.verdict import Verdict

if TYPE_CHECKING:
    from expert_system.training.cases import Case

MAX_QUERY_CHARS = 2_000
"""The parser's time grows faster than the text."""
STARTS = ("MATCH", "OPTIONAL", "WITH", "UNWIND", "RETURN", "CREATE", "MERGE", "CALL")


def check(case: Case, answer: str) -> Verdict:
    """Judge an answer that has to be one bare query.

    Raises:
        PackageError: the case's own answer does not parse, or its graph is not of the form above.
        ConfigError: antlr4-cypher is not installed.
    """
    expected = parse(case.answer)
    if isinstance(expected, str):
        raise PackageError(f"the case's own answer does not parse: {expected}: {case.answer[:80]}")
    graph = read_graph(case.data["graph"]) if "graph" in case.data else None
    wanted = canonical(expected)
    found = parse(answer)
    among = first_statement(answer, STARTS)
    inner = parse(among) if among is not None else ""
    anywhere = not isinstance(inner, str) and canonical(inner) == wanted
    if isinstance(found, str):
        return _verdict(parses=False, valid=False, exact=False, anywhere=anywhere, problem=f"does not parse: {found}")
    problem = "" if graph is None else against(found, graph)
    exact = canonical(found) == wanted
    told = problem or ("" if exact else "another query than the expected one")
    return _verdict(parses=True, valid=not problem, exact=exact, anywhere=anywhere or exact, problem=told)


def _verdict(*, parses: bool, valid: bool, exact: bool, anywhere: bool, problem: str) -> Verdict:
    measures = {"parses": parses, "valid": valid, "exact": exact, "exact_anywhere": anywhere}
    return Verdict(measures={name: float(value) for name, value in measures.items()}, primary="exact", problem=problem)


def parse(query: str) -> Any:
    """The parse tree of a query, or the first thing that is wrong with it as text."""
    try:
        from antlr4 import CommonTokenStream, InputStream
        from antlr4.error.ErrorListener import ErrorListener
        from antlr4.ListTokenSource import ListTokenSource
        from antlr4_cypher import CypherLexer, CypherParser
    except ImportError:
        raise ConfigError("antlr4-cypher is not installed; install expert-system[train]") from None

    if len(query) > MAX_QUERY_CHARS:
        return f"longer than {MAX_QUERY_CHARS} characters"
    problems: list[str] = []

    class Listener(ErrorListener):
        def syntaxError(self, _r: Any, _s: Any, line: int, column: int, told: str, _e: Any) -> None:  # noqa: N802
            problems.append(f"line {line}, column {column}: {told[:200]}")

    lexer = CypherLexer(InputStream(query.strip()))
    lexer.removeErrorListeners()
    lexer.addErrorListener(Listener())
    tokens = lexer.getAllTokens()
    # The grammar has no place for the white space before UNION.
    unions = {index for index, token in enumerate(tokens) if token.type == CypherLexer.UNION}
    kept = [token for index, token in enumerate(tokens) if token.type != CypherLexer.SP or index + 1 not in unions]
    parser = CypherParser(CommonTokenStream(ListTokenSource(kept)))
    parser.removeErrorListeners()
    parser.addErrorListener(Listener())
    try:
        tree = parser.script()
    except RecursionError:
        return "nested too deeply"
    return problems[0] if problems else tree


def canonical(tree: Any) -> tuple[str, ...]:
    """A query's tokens with variables numbered in the order they appear."""
    from antlr4_cypher import CypherLexer as Lexer

    numbers: dict[str, str] = {}
    tokens: list[str] = []
    for token, role in _tokens(tree):
        text: str = token.text
        if token.type in {Lexer.SP, Lexer.SEMI, -1}:
            continue
        if role == "variable" and token.type in {Lexer.ID, Lexer.ESC_LITERAL}:
            tokens.append(numbers.setdefault(text.strip("`"), f"${len(numbers)}"))
        elif token.type in {Lexer.CHAR_LITERAL, Lexer.STRING_LITERAL}:
            tokens.append(f"'{text[1:-1]}'")
        elif role == "name":
            tokens.append(text.strip("`"))
        else:
            tokens.append(text.upper())
    return tuple(tokens)


def against(tree: Any, graph: Graph) -> str:
    """What a query asks of a graph that it does not have; empty when there is nothing."""
    from antlr4_cypher import CypherParser as P

    labels: dict[str, str] = {}
    for node in _nodes(tree, P.NodePatternContext):
        symbol, label = _label(node)
        if label is not None and label not in graph.labels:
            return f"the graph has no label {label}"
        if symbol is not None and label is not None:
            labels[symbol] = label
    types: dict[str, str] = {}
    for detail in _nodes(tree, P.RelationDetailContext):
        named = [
            name.getText().strip("`") for name in _nodes(detail, P.RelationshipTypesContext) for name in name.name()
        ]
        for name in named:
            if name not in graph.types:
                return f"the graph has no relationship {name}"
        if detail.symbol() is not None and len(named) == 1:
            types[detail.symbol().getText()] = named[0]
    for elem in _nodes(tree, P.PatternElemContext):
        problem = _chain(elem, graph, labels)
        if problem:
            return problem
    return _properties(tree, graph, labels, types)


def _chain(elem: Any, graph: Graph, labels: dict[str, str]) -> str:
    """Whether each relationship of a path leads between labels that it joins."""
    if elem.nodePattern() is None:
        return ""
    left = elem.nodePattern()
    for link in elem.patternElemChain():
        right, relation = link.nodePattern(), link.relationshipPattern()
        text = relation.getText()
        detail = relation.relationDetail()
        types = detail.relationshipTypes() if detail is not None else None
        one, other = (label or labels.get(symbol or "") for symbol, label in (_label(left), _label(right)))
        if types is not None and one is not None and other is not None and detail.rangeLit() is None:
            pairs = [(one, other)] if text.endswith(">") else [(other, one)] if text.startswith("<") else []
            pairs = pairs or [(one, other), (other, one)]
            named = [name.getText().strip("`") for name in types.name()]
            if not any((start, name, end) in graph.joins for name in named for start, end in pairs):
                return f"no relationship {'|'.join(named)} leads from {pairs[0][0]} to {pairs[0][1]}"
        left = right
    return ""


def _properties(tree: Any, graph: Graph, labels: dict[str, str], types: dict[str, str]) -> str:
    """Whether each property belongs to the label or relationship that it is asked of."""
    from antlr4_cypher import CypherParser as P

    asked: list[tuple[str, str]] = []
    for access in _nodes(tree, P.PropertyExpressionContext):
        if access.name():
            asked.append((access.atom().getText(), access.name()[0].getText().strip("`")))
    for pattern in (*_nodes(tree, P.NodePatternContext), *_nodes(tree, P.RelationDetailContext)):
        symbol = pattern.symbol().getText() if pattern.symbol() is not None else ""
        label = _label(pattern)[1] if isinstance(pattern, P.NodePatternContext) else None
        for pair in _nodes(pattern, P.MapPairContext):
            name = pair.name().getText().strip("`")
            if label is not None and name not in graph.labels[label]:
                return f"{label} has no property {name}"
            asked.append((symbol, name))
    for symbol, name in asked:
        known = graph.labels.get(labels.get(symbol, "")) or graph.types.get(types.get(symbol, ""))
        if name not in (known if known is not None else graph.properties):
            return f"{labels.get(symbol) or types.get(symbol) or 'nothing in the graph'} has no property {name}"
    return ""


def _label(node: Any) -> tuple[str | None, str | None]:
    """The variable of a node and its first label."""
    symbol = node.symbol().getText() if node.symbol() is not None else None
    names = node.nodeLabels().name() if node.nodeLabels() is not None else []
    return symbol, names[0].getText().strip("`") if names else None


def _nodes(tree: Any, kind: type[Any]) -> list[Any]:
    """Every node of a kind, in the order they stand."""
    found: list[Any] = []
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, kind):
            found.append(node)
        waiting.extend(reversed(list(node.getChildren())) if hasattr(node, "getChildren") else [])
    return found


def _tokens(tree: Any) -> list[tuple[Any, str]]:
    """Every token, and whether it names a variable, something in the graph, or neither."""
    from antlr4.tree.Tree import TerminalNode
    from antlr4_cypher import CypherParser as P

    found: list[tuple[Any, str]] = []
    waiting: list[tuple[Any, str]] = [(tree, "")]
    while waiting:
        node, role = waiting.pop()
        if isinstance(node, TerminalNode):
            found.append((node.getSymbol(), role))
            continue
        if isinstance(node, P.NameContext):
            role = "name"
        elif isinstance(node, P.InvocationNameContext):
            role = "function"
        elif isinstance(node, P.SymbolContext) and not role:
            role = "variable"
        waiting.extend((child, role) for child in reversed(list(node.getChildren())))
    return found
