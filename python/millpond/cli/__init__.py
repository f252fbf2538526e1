"""The ``millpond`` command. This file starts it, and says so when it can't.

Nothing here imports typer or rich: they come with the ``cli`` extra, and whoever installed millpond
without it deserves a sentence, not a traceback.

    _app        the commands
    _bench      ``millpond bench``: options in, table or JSON out
    _compare    one workload on millpond and on every peer, one after the other
    _workload   what the threads do, and what is counted
    _crew       threads that can always be left behind
    _peers      the pools: each cut down to acquire, release, connection, close
    _database   where it runs; passwords stay here
    _machine    what it ran on
    _table      the report for people
"""

import io
import sys

__all__ = ["main"]

_FROM_THE_EXTRA = frozenset({"typer", "rich", "click"})


def main() -> None:
    """Run the ``millpond`` command with the arguments of this process.

    Raises:
        SystemExit: Always. 0 is success, 1 a run that failed, 2 wrong usage or a missing extra.
    """
    try:
        from millpond.cli._app import app  # noqa: PLC0415 - the extra may be missing
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _FROM_THE_EXTRA:
            raise
        sys.stderr.write(
            f"millpond: this command needs {error.name}, which is not installed. "
            "Install the command-line extra: pip install 'millpond[cli]'\n"
        )
        raise SystemExit(2) from None
    # A table must not fail over a terminal that has no letter for microseconds.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    app()
