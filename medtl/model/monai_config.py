"""The configuration of a bundle of MONAI, read as data: references are followed, arithmetic on plain values is
computed, and nothing is run.

MONAI evaluates any text that begins with "$" as Python and builds whatever object `_target_` names. Here an expression
is taken apart, and only what `evaluate` knows is computed; a component is a name with arguments.
"""

import ast
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import ModelError

ID = r"\w+(?:(?:::|#)\w+)*"  # of an entry, with those inside it
REFERENCE = rf"\$?\s*[@%](?P<id>{ID})\s*"
MAX_STEPS = 10_000  # values looked at: entries that refer to each other can grow without end
MAX_CHAIN, MAX_EXPRESSION, MAX_ITEMS, MAX_TEXT, MAX_NUMBER = 20, 500, 64, 1000, 1e9
OPERATORS: Mapping[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
}
ONLY = "MedTL takes bundles whose configuration is data: plain values, references and arithmetic."


@dataclass
class Config:
    """The entries of a configuration file; `name` is that of the file for messages."""

    entries: Mapping[str, Any]
    name: str
    steps: int = field(default=0, init=False)

    def follow(self, raw: Any, what: str) -> Any:
        """The entry that a reference, or a chain of them, means; any other value as it is.

        Raises: ModelError when there is none, or they lead in a circle.
        """
        seen: list[str] = []
        while isinstance(raw, str) and (match := re.fullmatch(REFERENCE, raw)):
            raw = self.entry(match["id"], what, tuple(seen))
            seen.append(normal(match["id"]))
        return raw

    def entry(self, identity: str, what: str, trail: tuple[str, ...]) -> Any:
        """The entry of that id, as the file has it. `trail` are the ids that led to it.

        Raises: ModelError when there is none, or it is on the trail or that is too long.
        """
        self.count(what)
        if normal(identity) in trail or len(trail) > MAX_CHAIN:
            raise ModelError(
                f"The {what} in {self.name} leads in a circle, or too far, by @{identity[:60]}. Get the bundle again."
            )
        found: Any = self.entries
        for part in normal(identity).split("::"):
            if isinstance(found, Mapping) and part in found:
                found = found[part]
            elif isinstance(found, list) and part.isdecimal() and int(part) < len(found):
                found = found[int(part)]
            else:
                raise ModelError(
                    f"Expected the entry {identity[:60]!r} in {self.name}, to which the {what} refers, found none. "
                    "Get the whole bundle."
                )
        return found

    def value(self, raw: Any, what: str, trail: tuple[str, ...] = ()) -> Any:
        """The plain value, with all references and expressions in it computed: numbers, texts, lists and mappings of
        these, None, True, False.

        Raises: ModelError when it is anything else, too large, or refers to itself.
        """
        self.count(what)
        if isinstance(raw, str) and (match := re.fullmatch(REFERENCE, raw)):
            identity = match["id"]
            return self.value(self.entry(identity, what, trail), what, (*trail, normal(identity)))
        if isinstance(raw, str) and raw.startswith(("$", "@", "%")):
            return self.evaluate(raw, what, trail)
        if isinstance(raw, str) and len(raw) > MAX_TEXT:
            raise ModelError(f"The {what} in {self.name} is a text of {len(raw)} characters. {ONLY}")
        if isinstance(raw, list):
            return [self.value(one, what, trail) for one in raw]
        if isinstance(raw, Mapping):
            if "_target_" in raw:
                raise ModelError(f"Expected plain values for the {what} in {self.name}, found {shown(raw)}. {ONLY}")
            return {key: self.value(one, what, trail) for key, one in raw.items()}
        return raw

    def evaluate(self, text: str, what: str, trail: tuple[str, ...]) -> Any:
        """The value of an expression: + - * / // of numbers, lists and texts, a choice by a value, and references.

        Raises: ModelError when it is anything else, which is not run.
        """
        refused = ModelError(
            f"The {what} in {self.name} is {text[:80]!r}, a program or another file, which is not run or read. {ONLY}"
        )
        if not text.startswith("$") or len(text) > MAX_EXPRESSION:
            raise refused
        names: dict[str, str] = {}

        def named(match: re.Match[str]) -> str:
            name = f"reference_{len(names)}"
            names[name] = match[1]
            return name

        try:
            tree = ast.parse(re.sub(rf"@({ID})", named, text[1:].strip()), mode="eval").body

            def compute(node: ast.expr) -> Any:
                self.count(what)
                if isinstance(node, ast.Constant) and isinstance(node.value, int | float | str | None):
                    return node.value
                if isinstance(node, ast.List | ast.Tuple):
                    return [compute(one) for one in node.elts]
                if isinstance(node, ast.Name) and node.id in names:
                    identity = names[node.id]
                    return self.value(self.entry(identity, what, trail), what, (*trail, normal(identity)))
                if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
                    return -compute(node.operand)
                if isinstance(node, ast.IfExp):
                    return compute(node.body if compute(node.test) else node.orelse)
                if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
                    left, right = compute(node.left), compute(node.right)
                    if not is_bounded(left, right, type(node.op)):
                        raise refused
                    return OPERATORS[type(node.op)](left, right)
                raise refused

            return compute(tree)
        except (SyntaxError, ValueError, TypeError, ArithmeticError, RecursionError, MemoryError) as error:
            raise refused from error

    def count(self, what: str) -> None:
        """Raise ModelError when too many values were looked at."""
        self.steps += 1
        if self.steps > MAX_STEPS:
            raise ModelError(f"The {what} in {self.name} needs more than {MAX_STEPS} values. Do not trust this bundle.")


def is_bounded(left: Any, right: Any, kind: type) -> bool:
    """True where two values may be computed with: what comes out is no larger than what a configuration needs."""
    if isinstance(left, int | float) and isinstance(right, int | float):
        return abs(left) <= MAX_NUMBER and abs(right) <= MAX_NUMBER
    if isinstance(left, list) and isinstance(right, list):
        return kind is ast.Add and len(left) + len(right) <= MAX_ITEMS
    if isinstance(left, list) and type(right) is int:
        return kind is ast.Mult and len(left) * right <= MAX_ITEMS
    texts = isinstance(left, str) and isinstance(right, str)
    return texts and kind is ast.Add and len(left) + len(right) <= MAX_TEXT


def normal(identity: str) -> str:
    """The id in its newer form."""
    return identity.replace("#", "::")


def shown(value: Any) -> str:
    """The value for a message: of a component its name."""
    if isinstance(value, Mapping) and "_target_" in value:
        return f"the component {str(value['_target_'])[:80]!r}"
    return "none" if value is None else f"{str(value)[:80]!r}"
