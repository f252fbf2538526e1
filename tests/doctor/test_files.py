"""Which files are read, and what becomes of those that can't be."""

import os
from pathlib import Path

import pytest

from millpond.doctor import Finding, PoolOptions, examine, read_config, read_paths
from millpond.errors import PoolConfigError

FAULTY = 'import millpond\npool = millpond.Pool("postgresql://db", acquire_timeout=None)\n'


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        path = folder / name.replace("__", "/")
        path = path.with_name(f"{path.name}.py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")


def files_with_pools(*paths: Path) -> set[str]:
    pools = (each for each in read_paths(paths) if isinstance(each, PoolOptions))
    return {Path(pool.place.file or "").name for pool in pools}


def findings_in(path: Path) -> list[Finding]:
    return examine(read_paths([path]))


def test_folders_are_walked_but_for_what_is_others_hidden_or_a_test(tmp_path: Path) -> None:
    write(
        tmp_path,
        app__yes=FAULTY,
        app__tests__helpers=FAULTY,
        app__test_it=FAULTY,
        conftest=FAULTY,
        node_modules__no=FAULTY,
        env__lib__no=FAULTY,
    )
    (tmp_path / "env" / "pyvenv.cfg").touch()
    hidden = tmp_path / ".git"
    hidden.mkdir()
    (hidden / "no.py").write_text(FAULTY)

    assert files_with_pools(tmp_path) == {"yes.py"}


def test_tests_are_read_if_they_are_asked_for(tmp_path: Path) -> None:
    write(tmp_path, tests__test_it=FAULTY)

    assert files_with_pools(tmp_path / "tests") == {"test_it.py"}
    assert files_with_pools(tmp_path / "tests" / "test_it.py") == {"test_it.py"}


@pytest.mark.parametrize(
    "content",
    [
        b"print 'two'\n",
        b"x = '\xff'\n",
        b"# coding: klingon\n",
        b"x = 1\0\n",
        b"(" * 5000 + b")" * 5000,
        b"x = " + b"-" * 100_000 + b"1\n",
        b"#" * 2_000_001,
    ],
)
def test_a_file_that_cannot_be_read_is_a_hint_and_no_traceback(
    tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "broken.py").write_bytes(content)
    write(tmp_path, fine=FAULTY)

    codes = {finding.code: finding.severity for finding in findings_in(tmp_path)}

    assert codes == {"MP001": "info", "MP105": "error", "MP111": "info"}


@pytest.mark.parametrize(
    "program",
    [
        f"pool = Pool({'+'.join(['URL'] * 900)}, max_size={'+'.join('1' * 900)})",
        f"pool = Pool(URL)\nconn = pool{'.x' * 900}.acquire()",
        f"pool = Pool(URL)\nx = {'f(' * 80}pool.acquire(){')' * 80}",
        "if x: pass\n" + "elif x: pool.acquire()\n" * 900,
        "\n".join(f"p{number} = p{number + 1}" for number in range(300)) + "\np300 = Pool(URL)",
        "a = b\nb = a\nwith a.connection() as conn: pass",
        "def f():\n    return f()\nf().acquire()",
        "pool = Pool(URL, validation_interval=600, idle_timeout='10m')",
        "DATABASES = {dict(a=1): {}, [1]: {}}",
        "DATABASES = {'a': {'OPTIONS': {'b.c': {'d': 1}, name: {}, 5: {}}}}",
        "pool = Pool(lambda: connect(host=['a', 'b'], password='x'))",
        f"pool = Pool(URL, max_size={10**400}, acquire_timeout={10**400})",
        "from sqlalchemy import create_engine\ncreate_engine(URL, pool_size=float('inf'))",
    ],
)
def test_a_deep_endless_or_absurd_program_is_no_traceback(tmp_path: Path, program: str) -> None:
    write(tmp_path, program=f"from millpond import Pool\nURL = 'x'\n{program}\n")

    assert "MP001" not in {finding.code for finding in findings_in(tmp_path)}


def test_what_is_no_file_is_a_hint_and_nobody_waits_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.py")
    (tmp_path / "nowhere.py").symlink_to(tmp_path / "gone.py")
    (tmp_path / "again").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "itself.py").symlink_to(tmp_path / "itself.py")

    found = {(Path(each.file or "").name, each.code) for each in findings_in(tmp_path)}

    assert found == {("pipe.py", "MP001"), ("nowhere.py", "MP001"), ("itself.py", "MP001")}


def test_the_style_of_a_program_is_none_of_the_doctors_business(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    write(tmp_path, program='import re\nNUMBER = re.compile("\\d+")\nIS = 1 is 1\n')

    assert findings_in(tmp_path) == []
    assert [str(each.message) for each in recwarn] == []


def test_an_empty_folder_has_no_findings(tmp_path: Path) -> None:
    assert findings_in(tmp_path) == []


def test_a_path_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PoolConfigError, match="must be a file or folder that exists"):
        read_paths([tmp_path / "nowhere"])


def test_a_pool_of_another_file_is_known_by_its_import(tmp_path: Path) -> None:
    write(
        tmp_path,
        src__shop__db=FAULTY.replace("None", "1"),
        src__shop__absolute="from shop.db import pool\ndef f():\n    conn = pool.acquire()\n",
        src__shop__relative="from .db import pool as p\ndef f():\n    conn = p.acquire()\n",
        src__shop__module="from shop import db\ndef f():\n    conn = db.pool.acquire()\n",
        src__other__db="pool = None\n",
    )

    found = {Path(each.file or "").stem for each in findings_in(tmp_path) if each.code == "MP202"}

    assert found == {"absolute", "relative", "module"}


def test_a_file_that_is_named_twice_is_one(tmp_path: Path) -> None:
    write(
        tmp_path,
        app__db=FAULTY,
        app__view="from db import pool\ndef f():\n    conn = pool.acquire()\n",
    )
    (tmp_path / "link.py").symlink_to(tmp_path / "app" / "db.py")

    findings = examine(read_paths([tmp_path, tmp_path / "app", tmp_path / "app" / "view.py"]))

    assert sorted(finding.code for finding in findings) == ["MP105", "MP111", "MP202"]


def test_of_two_files_with_one_name_neither_is_taken(tmp_path: Path) -> None:
    write(
        tmp_path,
        a__db=FAULTY,
        b__db="class Pool: ...\npool = Pool()\n",
        view="from db import pool\ndef f():\n    conn = pool.acquire()\n",
    )

    assert "MP202" not in {finding.code for finding in findings_in(tmp_path)}


def test_a_comment_silences_its_line(tmp_path: Path) -> None:
    line = 'pool = millpond.Pool("postgresql://db", acquire_timeout=None)'
    program = "import millpond\n"
    for comment in (
        "",
        "  # millpond: ignore",
        "  # millpond: ignore[MP105]",
        "  # millpond: ignore[MP2]",
    ):
        program += f"{line}{comment}\n"
    write(tmp_path, program=program)

    lines = [each.line for each in findings_in(tmp_path) if each.code == "MP105"]

    assert lines == [2, 5]


def test_a_comment_at_the_call_silences_what_is_in_its_other_lines(tmp_path: Path) -> None:
    program = """
import millpond
pool = millpond.Pool(  # millpond: ignore[MP105,MP111]
    "postgresql://db",
    acquire_timeout=None,
)
"""
    write(tmp_path, program=program)

    assert findings_in(tmp_path) == []


@pytest.mark.parametrize(
    "line",
    [
        'pool = millpond.Pool("postgresql://app:hunter2@db/app", max_lifetime=None)',
        'pool = millpond.Pool("postgresql://db/app?password=hunter2", max_lifetime=None)',
        'pool = millpond.Pool(url, max_lifetime=None, connect_kwargs={"password": "hunter2"})',
        "pool = millpond.Pool(lambda: c(passwd='hunter2'), max_lifetime=None)",
    ],
)
def test_no_finding_shows_a_password(tmp_path: Path, line: str) -> None:
    write(tmp_path, program=f"import millpond\n{line}\n")

    findings = findings_in(tmp_path)

    assert findings
    assert not any("hunter2" in str(finding.to_dict()) for finding in findings)


def test_pools_are_read_from_toml(tmp_path: Path) -> None:
    path = tmp_path / "anything.toml"
    path.write_text(
        """
title = "not a pool"
[[pool]]
name = "a"
connect = "postgresql://db/app"
max_lifetime = "none"
[[ pool ]] # the second one
kind = "dbutils.PooledDB"
preset = "RECOMMENDED"
blocking = true
[other]
max_lifetime = "none"
"""
    )

    first, second = (each for each in read_config(path) if isinstance(each, PoolOptions))

    assert (first.name, first.kind, first.value("max_size")) == ("a", "millpond.Pool", 10)
    assert first.is_none("max_lifetime")
    assert (first.place.line, first.at("max_lifetime").line) == (3, 6)
    assert (second.at("blocking").line, second.value("blocking")) == (10, True)
    change = first.change("max_lifetime", "3600.0")
    assert change is not None
    assert change.after == "max_lifetime = 3600.0"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[pool", "is not valid TOML"),
        ("x = 1", "has no pool"),
        ("pool = 3", "must be a table"),
        ('[pool]\nkind = "sqlite"', "kind='sqlite': must be"),
        ('[pool]\npreset = "BEST"', "preset='BEST': must be 'AGGRESSIVE' or"),
    ],
)
def test_toml_without_a_valid_pool_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "pool.toml"
    path.write_text(text)

    with pytest.raises(PoolConfigError, match=message):
        read_config(path)


def test_a_toml_file_that_was_only_found_may_be_anything(tmp_path: Path) -> None:
    (tmp_path / "pool.toml").write_text('[pool]\nkind = "swimming"\n')

    assert [finding.code for finding in findings_in(tmp_path)] == ["MP001"]


def test_the_package_itself_is_in_good_health() -> None:
    root = Path(__file__).parents[2] / "python"

    assert [each for each in findings_in(root) if each.severity != "info"] == []
