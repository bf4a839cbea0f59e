"""Every way a file or an object can break the contract.

ContractError
├── UnsupportedFormat   a newer or unknown format_version
├── CorruptBundle       a bundle whose files are missing, damaged or contradict each other
└── PromptMisfit        a prompt file that is damaged, or does not fit this backbone
"""

from __future__ import annotations

from typing import Literal

Reason = Literal[
    "too_large",
    "malformed",
    "unsupported_format",
    "digest_mismatch",
    "wrong_task_name",
    "wrong_backbone",
    "wrong_schema",
    "missing_tensor",
    "unexpected_tensor",
    "wrong_shape",
    "wrong_dtype",
    "non_finite",
    "golden_mismatch",
]


class ContractError(Exception):
    """A file or object that breaks the contract; the message says how and what to do."""


class UnsupportedFormat(ContractError):
    """The format version is unknown here: written by a newer taskgraft."""


class CorruptBundle(ContractError):
    """A bundle's files are missing, damaged, or contradict the manifest."""


class PromptMisfit(ContractError):
    """A prompt file that is damaged or made for another backbone.

    Attributes:
        reason: the machine-readable cause.
        details: what was found and expected, small JSON values only.
    """

    def __init__(self, reason: Reason, message: str, **details: object) -> None:
        super().__init__(message)
        self.reason: Reason = reason
        self.details = details
