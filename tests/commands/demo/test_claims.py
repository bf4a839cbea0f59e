"""The story does not end well when it was not true."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from commands.demo.claims import Claims
from commands.failures import CommandError


def made() -> tuple[Claims, io.StringIO]:
    out = io.StringIO()
    return Claims(Console(file=out, width=200)), out


def test_a_claim_that_holds_is_shown_with_its_figure() -> None:
    claims, out = made()
    claims.check("AUC is at least 0.7", "0.8", holds=True)
    claims.settle()
    assert "holds  AUC is at least 0.7: 0.8" in out.getvalue()


def test_one_claim_that_fails_is_an_error_that_names_it() -> None:
    claims, out = made()
    claims.check("fast", "1 ms", holds=True)
    claims.check("equal", "1 differs", holds=False)
    claims.check("small", "3 %", holds=True)
    assert "FAILS  equal: 1 differs" in out.getvalue()
    with pytest.raises(CommandError, match=r"1 of 3 claims did not hold: equal \(1 differs\)"):
        claims.settle()
