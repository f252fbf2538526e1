"""What type checkers know of names that do not exist. Nothing here runs: ``mypy`` reads it."""

import millpond
from millpond import Poool  # type: ignore[attr-defined]


def a_misspelled_name_is_an_error() -> None:
    Poool("sqlite:///app.db")
    millpond.Poool("sqlite:///app.db")  # type: ignore[attr-defined]
