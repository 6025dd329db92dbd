"""Configs are named by their paths in the repository."""
import pytest

from tests.conftest import ROOT


@pytest.fixture(autouse=True)
def _in_the_repository(monkeypatch):
    monkeypatch.chdir(ROOT)
