"""A FastAPI service under uvicorn, started and stopped while requests come in."""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psycopg
import pytest

from helpers import eventually

APPS = Path(__file__).parent / "apps"

SESSIONS = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'millpond-guestbook'"

pytestmark = pytest.mark.server


@pytest.fixture
def port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def served(url: str, port: int, *options: str) -> Iterator[subprocess.Popen[str]]:
    """Run the service, with every warning an error."""
    command = [sys.executable, "-X", "dev", "-W", "error", "-m", "uvicorn", "guestbook:app"]
    # What others do with asyncio in their own way is theirs.
    environment = os.environ | {
        "DATABASE_URL": url,
        "PYTHONPATH": os.pathsep.join([str(APPS), os.environ.get("PYTHONPATH", "")]),
        "PYTHONWARNINGS": "error,ignore::DeprecationWarning",
    }
    with subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--port", str(port), "--no-access-log", *options],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as server:
        try:
            yield server
        finally:
            server.kill()


def is_up(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/stats").status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


class Load:
    """Clients that ask until they are told to stop, or nobody answers."""

    def __init__(self, port: int, clients: int) -> None:
        self.answers: Counter[int] = Counter()
        self.wrong: list[object] = []
        self._stop = threading.Event()
        self._url = f"http://127.0.0.1:{port}"
        self._threads = [threading.Thread(target=self._ask) for _ in range(clients)]
        for thread in self._threads:
            thread.start()

    def _ask(self) -> None:
        with httpx.Client(base_url=self._url, timeout=10) as client:
            while not self._stop.is_set():
                try:
                    answers = [client.get("/slow"), client.post("/entries?text=hello")]
                except httpx.TransportError:
                    return
                self.answers.update(answer.status_code for answer in answers)
                self.wrong += [one.text for one in answers if one.text != "1"]

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_service_starts_and_stops_under_load_and_loses_nothing(
    postgres_url: str, port: int, loop: str
) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as observer:

        def sessions() -> int:
            row = observer.execute(SESSIONS).fetchone()
            assert row is not None
            return int(row[0])

        with served(postgres_url, port, "--loop", loop) as server:
            eventually(lambda: is_up(port), timeout=30)
            load = Load(port, clients=16)
            eventually(lambda: load.answers[200] > 300, timeout=30)
            most = sessions()
            # Requests that have come are answered, and those that come later find nobody.
            server.send_signal(signal.SIGTERM)
            said, _ = server.communicate(timeout=30)
            load.stop()
        eventually(lambda: sessions() == 0, timeout=5)

    assert most <= 5
    assert set(load.answers) == {200}
    assert not load.wrong
    for trouble in ("Traceback", "Warning", "never retrieved", "was destroyed", "ERROR"):
        assert trouble not in said, said
