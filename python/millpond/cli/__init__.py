"""The ``millpond`` command. This file starts it, and says so when it can't.

Nothing here imports typer or rich: they come with the ``cli`` extra, and whoever installed millpond
without it deserves a sentence, not a traceback.

    _app            the commands; each is a package, whose __init__ is its map
    bench           millpond on a workload, beside every other pool
    doctor          what is wrong with how pools are configured and used
    size            how large a pool should be
    top             pools while they work

What several of them share, and the only modules of the command line that a command may import from
outside its package:

    _options        values of options, checked; what is refused, with the option's name
    _output         JSON, sentences and failures, as every command prints them
    _words          how durations are written
    _in_time        what may hang, with a limit
    _database       a database by its URL; passwords stay here
    _reading        one look at a /pool.json    _pools      what it says, checked
"""

import io
import sys

__all__ = ["main"]

_FROM_THE_EXTRA = frozenset({"blessed", "click", "rich", "typer"})


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
