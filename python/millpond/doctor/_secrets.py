"""Passwords are hidden in whatever the doctor shows of a file."""

from __future__ import annotations

import re
from typing import Final

from millpond.drivers import redact

__all__ = ["hide"]

# `password="..."`, `"PASSWORD": '...'`, `passwd = ...`: a literal after such a name.
_LITERAL: Final = re.compile(
    r"""(?P<key>\b\w*(?:passw(?:or)?d|pwd|secret|token)\w*["']?\s*[:=]\s*[rbuRBU]?)"""
    r"""(?P<quote>["'])(?P<value>(?:\\.|(?!(?P=quote)).)+)(?P=quote)""",
    re.IGNORECASE,
)


def hide(text: str) -> str:
    """Return a line of source in which no password can be read.

    Args:
        text: Any text. Rather too much is hidden than too little.
    """
    return redact(_LITERAL.sub(r"\g<key>\g<quote>***\g<quote>", text))
