"""What the exporters say where their packages are not installed."""

from __future__ import annotations

import importlib
import sys

import pytest


@pytest.mark.parametrize(
    ("name", "package"),
    [("prometheus", "prometheus_client"), ("opentelemetry", "opentelemetry.metrics")],
)
def test_without_its_package_an_exporter_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, name: str, package: str
) -> None:
    exporter = f"millpond.exporters.{name}"
    importlib.import_module(exporter)
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, exporter)

    with pytest.raises(ImportError, match=rf"{package}.*: pip install 'millpond\[{name}\]'"):
        importlib.import_module(exporter)
