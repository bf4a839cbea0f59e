"""A prompt that this process holds.

PromptProver --> Resident --> Snapshot
"""

from __future__ import annotations

from dataclasses import dataclass

from contract.prompt import PromptHeader
from service.bank import Slot


@dataclass(frozen=True, slots=True)
class Resident:
    """A prompt in the bank, checked and replayed.

    Attributes:
        signer: name of the key that signed it, if any was found to have.
    """

    header: PromptHeader
    version: int
    sha256: str
    size_bytes: int
    slot: Slot
    signer: str = ""
