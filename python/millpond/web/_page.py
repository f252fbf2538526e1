"""The page for people: one file, which asks for ``pool.json`` again and again.

It loads nothing else. Its own headers forbid it everything but its own script, its own style and
questions to its own host, so that a pool with a hostile name can do nothing either.
"""

from __future__ import annotations

import base64
import hashlib
import html
import re
from importlib.resources import files
from typing import Final

_BASE: Final = "{{base}}"
_PAGE: Final = files("millpond.web").joinpath("page.html").read_text("utf-8")


def render(base: str) -> str:
    """Return the page.

    Args:
        base: The path at which the browser has it, with a slash at the end.
    """
    return _PAGE.replace(_BASE, html.escape(base, quote=True))


def _hash_of(tag: str) -> str:
    """Return what allows the page's one script, or style, and no other."""
    (content,) = re.findall(f"<{tag}>(.*?)</{tag}>", _PAGE, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(content.encode()).digest())
    return f"'sha256-{digest.decode()}'"


_ALLOWED: Final = (
    "default-src 'none'",
    f"script-src {_hash_of('script')}",
    f"style-src {_hash_of('style')}",
    "connect-src 'self'",
    "img-src data:",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'self'",
)

HEADERS: Final = (
    (
        "Content-Security-Policy",
        "; ".join(_ALLOWED),
    ),
    ("Referrer-Policy", "no-referrer"),
)
