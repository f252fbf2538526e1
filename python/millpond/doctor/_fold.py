"""What an expression is worth, as far as it can be told without running the program.

Literals, arithmetic on them, names assigned once at the top level, dict displays, `|` of dicts,
`millpond.presets`, conversions, and the default of what the environment may say. Everything else is
`UNKNOWN`.
"""

from __future__ import annotations

import ast
import operator
from typing import TYPE_CHECKING, Any, Final

from millpond import presets
from millpond.doctor._options import UNKNOWN, Option
from millpond.doctor._source import dotted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from millpond.doctor._findings import Place
    from millpond.doctor._source import Source

__all__ = ["Folder"]

_ARITHMETIC: Final[dict[type[ast.operator], Callable[[Any, Any], Any]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_CONVERSIONS: Final[dict[str, Callable[[Any], Any]]] = {
    "int": int,
    "float": float,
    "str": str,
    "bool": bool,
}
_PRESETS: Final = {
    f"millpond.presets.{name}": dict(getattr(presets, name))
    for name in ("AGGRESSIVE", "CONSERVATIVE", "RECOMMENDED")
}
_ENVIRONMENT: Final = {"os.environ.get", "os.getenv", "environ.get"}
_DEEP: Final = 50
_NUMBERS: Final = (int, float)


class Folder:
    """Folds the expressions of one file.

    Args:
        source: The file.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._asked = False  # whether the environment had a say in the last value
        self._depth = 0

    def option(self, node: ast.expr, *, from_preset: bool = False) -> Option:
        """Return an expression's value with its place."""
        value = self.value(node)
        text = value if isinstance(value, str) else self._text(node)
        return Option(
            value=value,
            place=self._source.place(node),
            from_preset=from_preset,
            from_environment=self._asked,
            known_url=text if "://" in text else "",
            origin=self._origin(node),
            refers_to=self._source.qualified(node),
            segment=self._source.segment(node),
        )

    def _origin(self, node: ast.expr) -> Place | None:
        """Return where the constant is written out that a name stands for."""
        origin = self.written_out(node)
        return None if origin is node else self._source.place(origin)

    def written_out(self, node: ast.expr) -> ast.expr:
        """Follow the names of constants, which may be defined by themselves."""
        for _ in range(_DEEP):
            if not isinstance(node, ast.Name) or node.id not in self._source.constants:
                break
            node = self._source.constants[node.id]
        return node

    def value(self, node: ast.expr) -> Any:  # noqa: ANN401  of any type
        """Return an expression's value, or `UNKNOWN`."""
        self._asked = False
        self._depth = 0
        return self._fold(node)

    def literal(self, node: ast.expr) -> dict[object, ast.expr]:
        """Return the entries of a dict that is written out, here or where its name is assigned."""
        if isinstance(node, ast.Name):
            node = self._source.constants.get(node.id, node)
        if isinstance(node, ast.Dict):
            pairs = zip(node.keys, node.values, strict=True)
            return {self._key(key): value for key, value in pairs if key is not None}
        if isinstance(node, ast.Call) and dotted(node.func) == "dict":
            return {word.arg: word.value for word in node.keywords if word.arg}
        return {}

    def _key(self, node: ast.expr) -> object:
        value = self.value(node)
        return value if isinstance(value, (str, int)) else UNKNOWN

    def _fold(self, node: ast.expr) -> Any:  # noqa: ANN401
        fold = _FOLDS.get(type(node))
        if fold is None or self._depth >= _DEEP:
            return UNKNOWN
        self._depth += 1
        try:
            return fold(self, node)
        finally:
            self._depth -= 1

    def _constant(self, node: ast.Constant) -> Any:  # noqa: ANN401
        return node.value

    def _name(self, node: ast.Name) -> Any:  # noqa: ANN401
        return self._reference(node, self._source.constants.get(node.id))

    def _attribute(self, node: ast.Attribute) -> Any:  # noqa: ANN401
        return self._reference(node, None)

    def _reference(self, node: ast.expr, assigned: ast.expr | None) -> Any:  # noqa: ANN401
        if assigned is not None:
            return self._fold(assigned)
        name = self._source.qualified(node)
        return dict(_PRESETS[name]) if name in _PRESETS else UNKNOWN

    def _unary(self, node: ast.UnaryOp) -> Any:  # noqa: ANN401
        value = self._fold(node.operand)
        if isinstance(node.op, ast.Not):
            return UNKNOWN if value is UNKNOWN else not value
        if not isinstance(value, _NUMBERS):
            return UNKNOWN
        return -value if isinstance(node.op, ast.USub) else UNKNOWN

    def _binary(self, node: ast.BinOp) -> Any:  # noqa: ANN401
        left, right = self._fold(node.left), self._fold(node.right)
        if isinstance(node.op, ast.BitOr):
            both = isinstance(left, dict) and isinstance(right, dict)
            return left | right if both else UNKNOWN
        compute = _ARITHMETIC.get(type(node.op))
        numbers = isinstance(left, _NUMBERS) and isinstance(right, _NUMBERS)
        texts = isinstance(left, str) and isinstance(right, str) and isinstance(node.op, ast.Add)
        if compute is None or not (numbers or texts):
            return UNKNOWN
        try:
            return compute(left, right)
        except ArithmeticError:
            return UNKNOWN

    def _joined(self, node: ast.JoinedStr) -> Any:  # noqa: ANN401
        parts = [self._piece(part) for part in node.values]
        return UNKNOWN if UNKNOWN in parts else "".join(map(str, parts))

    def _piece(self, part: ast.expr) -> Any:  # noqa: ANN401
        if isinstance(part, ast.FormattedValue):
            return UNKNOWN if part.format_spec else self._fold(part.value)
        return self._fold(part)

    def _sequence(self, node: ast.List | ast.Tuple) -> Any:  # noqa: ANN401
        values = [self._fold(each) for each in node.elts]
        return values if isinstance(node, ast.List) else tuple(values)

    def _dict(self, node: ast.Dict) -> Any:  # noqa: ANN401
        folded: dict[Any, Any] = {}
        for key, value in zip(node.keys, node.values, strict=True):
            if key is None:
                spread = self._fold(value)
                if not isinstance(spread, dict):
                    return UNKNOWN
                folded |= spread
                continue
            name = self._fold(key)
            if not isinstance(name, (str, int)):
                return UNKNOWN
            folded[name] = self._fold(value)
        return folded

    def _call(self, node: ast.Call) -> Any:  # noqa: ANN401
        name = dotted(node.func)
        if name == "dict" and not node.args and all(word.arg for word in node.keywords):
            return {word.arg: self._fold(word.value) for word in node.keywords}
        if name in _CONVERSIONS and len(node.args) == 1 and not node.keywords:
            return self._convert(_CONVERSIONS[name], self._fold(node.args[0]))
        if self._source.qualified(node.func) in _ENVIRONMENT or name in _ENVIRONMENT:
            default = node.args[1:] or [w.value for w in node.keywords if w.arg == "default"]
            self._asked = True
            return self._fold(default[0]) if default else UNKNOWN
        return UNKNOWN

    def _convert(self, convert: Callable[[Any], Any], value: Any) -> Any:  # noqa: ANN401
        if not isinstance(value, (str, *_NUMBERS)):
            return UNKNOWN
        try:
            return convert(value)
        except (ValueError, OverflowError):
            return UNKNOWN

    def _text(self, node: ast.expr, depth: int = 0) -> str:
        """Return a text with ``...`` for what is not known of it."""
        if depth >= _DEEP:
            return ""
        node = self.written_out(node)
        if isinstance(node, ast.JoinedStr):
            pieces = [self._piece(part) for part in node.values]
            return "".join("..." if piece is UNKNOWN else str(piece) for piece in pieces)
        if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Add, ast.Mod)):
            # `a = a + "x"`: the left part is followed by no name.
            left = "" if isinstance(node.left, ast.Name) else self._text(node.left, depth + 1)
            left = left or self._string(node.left)
            return f"{left}..." if isinstance(node.op, ast.Add) else left
        if isinstance(node, ast.Call):
            return self._text_of_call(node, depth)
        return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""

    def _string(self, node: ast.expr) -> str:
        value = self._fold(node)
        return value if isinstance(value, str) else ""

    def _text_of_call(self, node: ast.Call, depth: int) -> str:
        if isinstance(node.func, ast.Attribute) and node.func.attr == "format":
            return self._text(node.func.value, depth + 1) or self._string(node.func.value)
        if self._source.qualified(node.func).endswith(("URL.create", "url.URL")):
            words = {word.arg: word.value for word in node.keywords}
            scheme = node.args[0] if node.args else words.get("drivername")
            text = self._fold(scheme) if scheme is not None else UNKNOWN
            host = self._fold(words["host"]) if "host" in words else "..."
            return f"{text}://{host or '...'}/..." if isinstance(text, str) else ""
        return ""


_FOLDS: Final[Mapping[type[ast.expr], Callable[[Folder, Any], Any]]] = {
    ast.Constant: Folder._constant,  # noqa: SLF001  the table of this class
    ast.Name: Folder._name,  # noqa: SLF001
    ast.Attribute: Folder._attribute,  # noqa: SLF001
    ast.UnaryOp: Folder._unary,  # noqa: SLF001
    ast.BinOp: Folder._binary,  # noqa: SLF001
    ast.JoinedStr: Folder._joined,  # noqa: SLF001
    ast.List: Folder._sequence,  # noqa: SLF001
    ast.Tuple: Folder._sequence,  # noqa: SLF001
    ast.Dict: Folder._dict,  # noqa: SLF001
    ast.Call: Folder._call,  # noqa: SLF001
}
