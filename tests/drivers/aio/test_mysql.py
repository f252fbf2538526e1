"""What the drivers of MySQL have in common, and no other driver."""

from __future__ import annotations

from typing import Any

import pytest

from drivers.aio.cases import AioMySQL, AsyncCase, AsyncMy, AsyncSession

both = pytest.mark.parametrize("kind", [AioMySQL, AsyncMy], ids=lambda kind: kind.name)


@pytest.mark.server
@both
def test_the_encoding_is_restored_with_the_session(make: Any, kind: type[AsyncCase]) -> None:
    case = make(kind)

    async def body(session: AsyncSession) -> None:
        # All that `set_charset` does, which fails in asyncmy 0.2.18.
        await session.run("SET NAMES latin1")
        session.conn._charset, session.conn._encoding = "latin1", "cp1252"

        await session.driver.reset_session(session.conn)

        assert await session.value("SELECT HEX('é')") == "C3A9"
        assert await session.value("SELECT _utf8mb4 x'C3A9'") == "é"

    case.run(body)
