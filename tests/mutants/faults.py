"""Mutants of a module: its source with one small fault in it.

Cosmic Ray's operators alter what is computed: numbers, comparisons, conditions. Ours leave things out, which is what a
protocol must not survive: a check, a handler, a field of what is signed, a word of a label.
"""

import ast
import difflib
from collections.abc import Iterator
from dataclasses import dataclass

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.operators.operator import Operator
from cosmic_ray.plugins import get_operator, operator_names
from parso.python.tree import Name
from parso.tree import BaseNode, Leaf, NodeOrLeaf

__all__ = ["Mutant", "mutants"]


_LEFT_OUT = {
    "ExceptionReplacer",  # knows no dotted names: `AlterHandler`
    "ReplaceComparisonOperator_Is_Eq",  # of None, booleans and enums it is the same
    "ReplaceComparisonOperator_IsNot_NotEq",
}


@dataclass(frozen=True, slots=True)
class Mutant:
    """A module with a fault."""

    path: str  # of the module, from the root of the project
    change: str  # what differs: lines that begin with - or +, without what is around them
    source: str


def mutants(path: str, source: str) -> Iterator[Mutant]:
    """Return all mutants of a module, each once. One that differs only in annotations is none."""
    seen = {_meaning(source)}
    for operator in _operators():
        count = sum(len(list(operator.mutation_positions(node))) for node in ast_nodes(get_ast(source)))
        for number in range(count):
            mutated = mutate_code(source, operator, number)
            if mutated is not None and (meaning := _meaning(mutated)) is not None and meaning not in seen:
                seen.add(meaning)
                yield Mutant(path, _change(source, mutated), mutated)


def _meaning(source: str) -> str | None:
    """Return what is the same for sources that mean the same; None if it is no Python."""
    try:
        return ast.dump(_WithoutAnnotations().visit(ast.parse(source)))
    except SyntaxError:
        return None


class _WithoutAnnotations(ast.NodeTransformer):
    def visit_arg(self, node: ast.arg) -> ast.arg:
        node.annotation = None
        return node

    def visit_arguments(self, node: ast.arguments) -> ast.AST:
        """Cosmic Ray takes the * before arguments that are given by name for a multiplication."""
        node.args = [*node.posonlyargs, *node.args, *node.kwonlyargs]
        node.posonlyargs, node.kwonlyargs = [], []
        return self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        node.annotation = ast.Constant(None)
        return self.generic_visit(node)


def _change(before: str, after: str) -> str:
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), n=0, lineterm="")
    return "\n".join(line for line in list(lines)[2:] if not line.startswith("@@"))


def _operators() -> Iterator[Operator]:
    for name in operator_names():
        operator = get_operator(name)
        if not operator.arguments() and operator.__name__ not in _LEFT_OUT:
            yield operator()
    yield from (LeaveOutStatement(), LeaveOutPart(), AlterHandler(), AlterText())


class LeaveOutStatement(Operator):
    """Put `pass` in the place of a call, a raise or a return."""

    def mutation_positions(self, node: NodeOrLeaf) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
        if node.type == "simple_stmt" and node.children[0].type in {"atom_expr", "raise_stmt", "return_stmt"}:
            yield node.start_pos, node.end_pos

    def mutate(self, node: BaseNode, index: int) -> BaseNode:
        first = node.children[0]
        node.children[0] = Name("pass", first.start_pos, first.get_first_leaf().prefix)
        return node

    @classmethod
    def examples(cls) -> tuple[()]:
        return ()


class LeaveOutPart(Operator):
    """Leave out one of several arguments, elements, or entries of a dict."""

    def mutation_positions(self, node: NodeOrLeaf) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
        if node.type in {"arglist", "testlist_comp", "dictorsetmaker"}:
            parts = self._parts(node)
            is_comprehension = any(child.type in {"comp_for", "sync_comp_for"} for child in node.children)
            if len(parts) > 1 and not is_comprehension and not _is_for_import(node):
                for part in parts:
                    yield part[0].start_pos, part[-1].end_pos

    def mutate(self, node: BaseNode, index: int) -> BaseNode:
        gone = self._parts(node)[index]
        node.children = [child for child in node.children if child not in gone]
        if isinstance(node.children[0], Leaf) and node.children[0].type == "operator" and node.children[0].value == ",":
            node.children = node.children[1:]
        return node

    @staticmethod
    def _parts(node: BaseNode) -> list[list[NodeOrLeaf]]:
        """Return the children, part by part, each with the comma behind it."""
        parts: list[list[NodeOrLeaf]] = [[]]
        for child in node.children:
            parts[-1].append(child)
            if isinstance(child, Leaf) and child.value == ",":
                parts.append([])
        return [part for part in parts if part]

    @classmethod
    def examples(cls) -> tuple[()]:
        return ()


class AlterHandler(Operator):
    """Handle another exception. Of several in parentheses `LeaveOutPart` leaves out each."""

    def mutation_positions(self, node: NodeOrLeaf) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
        if node.type == "except_clause":
            yield node.start_pos, node.end_pos

    def mutate(self, node: BaseNode, index: int) -> BaseNode:
        first = node.children[1]
        node.children[1] = Name("ZeroDivisionError", first.start_pos, first.get_first_leaf().prefix)
        return node

    @classmethod
    def examples(cls) -> tuple[()]:
        return ()


class AlterText(Operator):
    """Alter a text that is neither for people nor for the type checker."""

    def mutation_positions(self, node: NodeOrLeaf) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
        if node.type == "string" and node.value[-3:] != '"""' and not _is_for_people_or_types(node):
            yield node.start_pos, node.end_pos

    def mutate(self, node: Leaf, index: int) -> Leaf:
        quote = min(node.value.index(mark) for mark in "'\"" if mark in node.value)
        node.value = f"{node.value[: quote + 1]}XX{node.value[quote + 1 :]}"
        return node

    @classmethod
    def examples(cls) -> tuple[()]:
        return ()


def _is_for_import(node: NodeOrLeaf) -> bool:
    """Whether it is in `__all__`."""
    while node.parent is not None:
        node = node.parent
        if node.type == "expr_stmt" and node.get_first_leaf().value == "__all__":
            return True
    return False


def _is_for_people_or_types(node: NodeOrLeaf) -> bool:
    if _is_for_import(node):
        return True
    while node.parent is not None:
        node = node.parent
        if node.type in {"raise_stmt", "param", "tfpdef", "annassign"}:
            return True
        if node.type == "funcdef":  # what it returns, as its body is a suite
            return True
        if node.type in {"suite", "file_input"}:
            return False
    return False
