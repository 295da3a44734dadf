"""What tests of the command line share."""

import sys

import pytest


@pytest.fixture
def mora(monkeypatch, capfd):
    """Call ``mora`` with arguments; gives status, output and errors."""
    from mora.cli import main

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["mora", *map(str, arguments)])
        status = 0
        try:
            main()
        except SystemExit as end:
            status = end.code or 0
        return status, *capfd.readouterr()

    return call
