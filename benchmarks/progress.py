"""What a benchmark says while it runs: its own lines with the time of day, of others only warnings.

tell_progress() --> logging to stderr, for the whole process
"""

from __future__ import annotations

import logging

_CHATTY = ("httpx", "onnxscript", "onnx_ir")


def tell_progress() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
