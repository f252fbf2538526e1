"""A real browser without a window: Debian's chromium, for one question, or driven for longer.

What drives it speaks as the WebDriver standard says.
"""

from __future__ import annotations

import html
import json
import re
import subprocess
import tempfile
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from terminals import need

if TYPE_CHECKING:
    from collections.abc import Iterator

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def ask_page(page: Path, script: str, width: int = 1200, height: int = 2000) -> Any:
    """Load a page in chromium, and give what the expression `script` is there, as JSON.

    Skipped, or failed, like a server that is missing, where there is no chromium.
    """
    # A copy of the page, with the question at its end.
    answer = f"document.title = JSON.stringify({script})"
    asking = f"<script>addEventListener('load', () => {{ {answer} }})</script>"
    with tempfile.TemporaryDirectory(prefix="millpond-chromium-") as profile:
        copy = Path(profile) / "page.html"
        copy.write_text(page.read_text(encoding="utf-8") + asking, encoding="utf-8")
        size = f"--window-size={width},{height}"
        done = subprocess.run(
            [
                need(*CHROMIUM),
                *FLAGS,
                f"--user-data-dir={profile}/profile",
                size,
                "--dump-dom",
                copy.as_uri(),
            ],
            capture_output=True,
            text=True,
            timeout=50,
            check=True,
        )
    found = re.search(r"<title>(.*?)</title>", done.stdout, re.DOTALL)
    assert found, done.stdout[:2000]
    return json.loads(html.unescape(found[1]))


class Browser:
    """One window."""

    def __init__(self, driver: str, arguments: tuple[str, ...]) -> None:
        options = {"binary": need(*CHROMIUM), "args": list(arguments)}
        logs = {"browser": "ALL"}
        wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": logs}
        self._session = driver
        made = self._ask("POST", "", {"capabilities": {"alwaysMatch": wanted}})
        self._session = f"{driver}/{made['sessionId']}"

    def _ask(self, method: str, command: str, values: dict[str, Any] | None = None) -> Any:
        body = None if values is None else json.dumps(values).encode()
        asked = urllib.request.Request(self._session + command, body, method=method)
        with urllib.request.urlopen(asked, timeout=30) as answer:
            return json.load(answer)["value"]

    def open(self, url: str) -> None:
        """Go to a page."""
        self._ask("POST", "/url", {"url": url})

    def run(self, script: str) -> Any:
        """Run JavaScript in the page, and return what it returns."""
        return self._ask("POST", "/execute/sync", {"script": script, "args": []})

    def text(self, selector: str) -> str:
        """Return what a reader sees of the first element, or nothing if there is none."""
        found = f"document.querySelector({json.dumps(selector)})"
        return str(self.run(f"return {found} ? {found}.innerText : ''"))

    def complaints(self) -> list[str]:
        """Return what the browser has complained of since the last time."""
        return [entry["message"] for entry in self._ask("POST", "/se/log", {"type": "browser"})]

    def close(self) -> None:
        """Close the window."""
        self._ask("DELETE", "")


@contextmanager
def browser() -> Iterator[Browser]:
    """Start a browser, and end it.

    Skipped, or failed, like a server that is missing, where there is none.
    """
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, _driver() as driver:
        window = Browser(driver, (*FLAGS, "--window-size=1100,1400", f"--user-data-dir={folder}"))
        try:
            yield window
        finally:
            window.close()


@contextmanager
def _driver() -> Iterator[str]:
    process = subprocess.Popen(
        [need("chromedriver"), "--port=0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        # It says a few lines, the last of which has the port.
        ports = (re.search(r"successfully on port (\d+)", line) for line in process.stdout)
        port = next((found[1] for found in ports if found), None)
        assert port is not None, "chromedriver ended"
        yield f"http://127.0.0.1:{port}/session"
    finally:
        process.terminate()
        process.wait(10)
        assert process.stdout is not None
        process.stdout.close()
