"""What can go wrong while exporting.

ExportError
└── ParityError   the exported graphs do not score as PyTorch does; names the largest difference
"""


class ExportError(Exception):
    """A failure the user can mend; the message says how."""


class ParityError(ExportError):
    """The exported graphs do not score as PyTorch does.

    Attributes:
        difference: the largest one found.
    """

    def __init__(self, message: str, difference: float) -> None:
        super().__init__(message)
        self.difference = difference
