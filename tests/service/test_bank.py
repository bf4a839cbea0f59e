from __future__ import annotations

import gc
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from contract.schema import TensorSpec
from service.bank import PromptBank, Slot
from service.errors import TooLarge

SPECS = (TensorSpec("w", "float32", (2, 3)), TensorSpec("b", "float32", (3,)))


def prompt(value: float) -> dict[str, NDArray[np.float32]]:
    return {"w": np.full((2, 3), value, np.float32), "b": np.full(3, value, np.float32)}


def values(bank: PromptBank, slots: list[Slot]) -> list[float]:
    arrays = bank.select(slots)
    assert arrays["w"].shape == (len(slots), 2, 3)
    assert np.all(arrays["w"] == arrays["w"][:, :1, :1])
    np.testing.assert_array_equal(arrays["w"][:, 0, 0], arrays["b"][:, 0])
    return [float(value) for value in arrays["b"][:, 0]]


def test_a_slot_holds_what_it_was_filled_with_in_any_order() -> None:
    bank = PromptBank(SPECS, limit=8)
    slots = [bank.fill(prompt(n)) for n in range(4)]
    assert values(bank, slots) == [0, 1, 2, 3]
    assert values(bank, [slots[2], slots[0]]) == [2, 0]


def test_neighbouring_slots_are_read_without_a_copy() -> None:
    bank = PromptBank(SPECS, limit=8)
    slots = [bank.fill(prompt(n)) for n in range(3)]
    assert np.shares_memory(bank.select(slots)["w"], bank.select(slots[1:])["w"])


def test_a_slot_that_somebody_holds_is_never_written_again() -> None:
    bank = PromptBank(SPECS, limit=4, capacity=2)
    held = bank.fill(prompt(7))
    for n in range(20):
        bank.fill(prompt(n))
        gc.collect()
        assert values(bank, [held]) == [7]


def test_a_slot_that_nobody_holds_is_used_again() -> None:
    bank = PromptBank(SPECS, limit=2, capacity=2)
    for n in range(50):
        slot = bank.fill(prompt(n))
        assert slot.index < 2
        del slot


def test_growing_keeps_what_is_there_and_what_readers_took() -> None:
    bank = PromptBank(SPECS, limit=64, capacity=2)
    first = [bank.fill(prompt(n)) for n in range(2)]
    taken = bank.select(first)
    more = [bank.fill(prompt(n)) for n in range(2, 40)]
    assert values(bank, [*first, *more]) == list(range(40))
    assert taken["b"][:, 0].tolist() == [0, 1]


def test_the_limit_is_a_limit() -> None:
    bank = PromptBank(SPECS, limit=3, capacity=2)
    slots = [bank.fill(prompt(n)) for n in range(3)]
    with pytest.raises(TooLarge, match="3 prompts are live"):
        bank.fill(prompt(9))
    assert values(bank, slots) == [0, 1, 2]


def test_a_slot_that_was_never_filled_takes_no_memory() -> None:
    """Growing frees arrays of all sizes; none of them may be written over for the next one."""
    before = resident_bytes()
    bank = PromptBank((TensorSpec("w", "float32", (64, 64)),), limit=4096)
    one = {"w": np.ones((64, 64), np.float32)}
    slots = [bank.fill(one) for _ in range(1025)]
    filled = sum(one["w"].nbytes for _ in slots)
    assert bank.spare == 4096 - 1025
    assert resident_bytes() - before < 1.25 * filled
    del slots, bank
    gc.collect()
    assert resident_bytes() - before < 0.25 * filled


def resident_bytes() -> int:
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return 1024 * int(status.split("RssAnon:")[1].split()[0])
