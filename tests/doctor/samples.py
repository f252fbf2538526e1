"""The samples of each rule: `samples/MP101.md` and so on.

A file has sections, ``## bad: why`` and ``## good: why``, each with one or more fenced files. In a
bad one ``# <-`` is at the end of each line that the rule has to find.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parent / "samples"

_SECTION: Final = re.compile(r"^## (bad|good): (.*)\n", re.MULTILINE)
_FENCE: Final = re.compile(r"^```python ?(\S*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Sample:
    """A small project that has a fault, or only looks as if it had."""

    code: str
    is_bad: bool
    title: str
    files: dict[str, str]

    def __str__(self) -> str:
        kind = "bad" if self.is_bad else "good"
        return f"{self.code}-{kind}-{self.title}"

    @property
    def expected(self) -> set[tuple[str, int]]:
        """The lines that the rule has to find."""
        return {
            (name, number)
            for name, text in self.files.items()
            for number, line in enumerate(text.splitlines(), 1)
            if line.rstrip().endswith("# <-")
        }

    def write(self, folder: Path) -> None:
        """Write its files."""
        for name, text in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")


def read_samples() -> list[Sample]:
    """Return the samples of all rules."""
    return [sample for path in sorted(FOLDER.glob("*.md")) for sample in _samples_of(path)]


def _samples_of(path: Path) -> list[Sample]:
    _, *parts = _SECTION.split(path.read_text("utf-8"))
    return [
        Sample(
            path.stem,
            kind == "bad",
            title,
            {name or "sample.py": text for name, text in _FENCE.findall(body)},
        )
        for kind, title, body in zip(parts[::3], parts[1::3], parts[2::3], strict=True)
    ]
