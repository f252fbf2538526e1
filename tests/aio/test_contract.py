"""What holds for `Pool` holds for `AsyncPool`: conftest.py puts the tests of tests/pool in here."""

from __future__ import annotations

import ast
from pathlib import Path

from async_contract import EXCLUDED

POOL = Path(__file__).parent.parent / "pool"


def functions_of(module: str) -> set[str]:
    """Name the functions and classes of a file of tests."""
    tree = ast.parse((POOL / f"{module}.py").read_text(encoding="utf-8"))
    return {
        node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)
    }


def test_what_is_left_out_exists() -> None:
    for modules in EXCLUDED.values():
        for module, tests in modules.items():
            assert set(tests) <= functions_of(module)
