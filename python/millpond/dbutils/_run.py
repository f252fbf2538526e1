"""A program, run the way that python runs it, with millpond in the place of DBUtils."""

from __future__ import annotations

import errno
import io
import os
import pkgutil
import runpy
import sys
from importlib.machinery import BuiltinImporter, SourceFileLoader
from typing import Any, Final

from millpond.dbutils._install import install

USAGE: Final = """\
usage: python -m millpond.dbutils [-h] (FILE | -m MODULE | -c CODE) [ARGUMENT ...]

Run a Python program unchanged, with millpond's pools in the place of DBUtils': whatever it imports
from dbutils, or from the DBUtils of before 2.0, is millpond's.

  FILE        a script, or a directory or zip file with a __main__.py
  -m MODULE   a module or package
  -c CODE     a string
  -h, --help  show this and exit
"""


def main() -> None:
    """Run the program that `sys.argv` names, and end as it ends."""
    match sys.argv[1:]:
        case ["-h" | "--help", *_]:
            sys.stdout.write(USAGE)
        case ["-m", module, *arguments]:
            install()
            _run_module(module, arguments)
        case ["-c", code, *arguments]:
            install()
            _run_code(code, arguments)
        case [file, *arguments] if not file.startswith("-"):
            install()
            _run_file(file, arguments)
        case _:
            sys.stderr.write(USAGE)
            sys.exit(2)


def _run_module(module: str, arguments: list[str]) -> None:
    sys.argv[:] = ["-m", *arguments]
    _empty_main()
    # The function which the interpreter itself calls for -m.
    runpy._run_module_as_main(module)  # type: ignore[attr-defined]


def _run_code(code: str, arguments: list[str]) -> None:
    sys.argv[:] = ["-c", *arguments]
    _begin_path_with("")
    program = compile(code, "<string>", "exec", dont_inherit=True)
    exec(program, _empty_main(BuiltinImporter))  # noqa: S102


def _run_file(file: str, arguments: list[str]) -> None:
    sys.argv[:] = [file, *arguments]
    path = _absolute(file)
    if pkgutil.get_importer(path) is not None:  # a directory or a zip file
        if not sys.flags.safe_path:
            del sys.path[0]
        sys.path.insert(0, path)
        _empty_main()
        # As the interpreter does it, too.
        runpy._run_module_as_main("__main__", alter_argv=False)  # type: ignore[attr-defined]
        return
    source = _read(path)
    _begin_path_with(os.path.dirname(os.path.realpath(file)))  # noqa: PTH120
    code = compile(source, path, "exec", dont_inherit=True)
    exec(code, _empty_main(SourceFileLoader("__main__", path), path))  # noqa: S102


def _absolute(file: str) -> str:
    """Make a path absolute as the interpreter does, which leaves any ``..`` in it."""
    return os.getcwd() if file == "." else os.path.join(os.getcwd(), file)  # noqa: PTH109, PTH118


def _read(path: str) -> bytes:
    try:
        with io.open_code(path) as file:
            return file.read()
    except OSError as error:
        # The interpreter's own words and code.
        reason = f"[Errno {error.errno}] {os.strerror(error.errno or errno.EIO)}"
        sys.stderr.write(f"{sys.executable}: can't open file {path!r}: {reason}\n")
        sys.exit(2)


def _begin_path_with(entry: str) -> None:
    """Replace the entry for this module by the one which the program would have."""
    if not sys.flags.safe_path:  # python -P puts none there
        sys.path[0] = entry


def _empty_main(loader: object = None, file: str | None = None) -> dict[str, Any]:
    """Make `__main__` what it is before a program's first line. Nothing of ours stays in it.

    It is the module that the interpreter made: what the program starts or registers may look for
    `__main__` after its last line.
    """
    names: dict[str, Any] = vars(sys.modules["__main__"])
    kept: dict[str, Any] = {}
    for name in ("__annotations__", "__builtins__"):
        if name in names:
            kept[name] = names[name]
    if file is not None:
        kept["__file__"] = file
        if "__cached__" in names:
            kept["__cached__"] = None
    names.clear()
    names.update(__name__="__main__", __doc__=None, __package__=None, __loader__=loader)
    names.update(__spec__=None, **kept)
    return names
