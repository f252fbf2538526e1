"""What a pool logs: quiet by default, and structured."""

from __future__ import annotations

import ast
import logging
from pathlib import Path
from typing import TYPE_CHECKING

import millpond
from fakes import OperationalError
from helpers import eventually

if TYPE_CHECKING:
    import pytest

    from fakes import FakeDatabase
    from helpers import MakePool


class TestLogging:
    """Quiet by default, and structured."""

    def test_each_record_has_its_pool_and_event(self) -> None:
        package = Path(millpond.__file__).parent
        missing = [
            f"{path.relative_to(package)}:{call.lineno}"
            for path in package.rglob("*.py")
            if 'getLogger("millpond.pool")' in path.read_text("utf-8")
            for call in logging_calls(ast.parse(path.read_text("utf-8")))
            if "extra" not in [keyword.arg for keyword in call.keywords]
        ]

        assert missing == []

    def test_nothing_is_printed_unless_the_application_asks(
        self, make_pool: MakePool, capsys: pytest.CaptureFixture[str], driver: FakeDatabase
    ) -> None:
        root = logging.getLogger()
        handlers, root.handlers = root.handlers, []
        try:
            pool = make_pool(_inline=True)
            driver.fail_next(OperationalError("refused"))
            pool.add_listener(lambda _: 1 / 0)
            assert pool.try_acquire() is None
        finally:
            root.handlers = handlers

        assert capsys.readouterr() == ("", "")

    def test_a_job_that_fails_is_named_by_its_pool(
        self, make_pool: MakePool, caplog: pytest.LogCaptureFixture
    ) -> None:
        pool = make_pool(name="orders")

        pool._workers.submit(lambda: 1 / 0)

        eventually(lambda: caplog.records)
        assert vars(caplog.records[0])["pool"] == "orders"
        assert vars(caplog.records[0])["event"] == "job_failed"


def logging_calls(tree: ast.AST) -> list[ast.Call]:
    """Find what is logged."""
    levels = {"debug", "info", "warning", "error", "exception", "critical", "log"}
    return [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in levels
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id in {"logger", "logging"}
    ]
