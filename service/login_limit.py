"""How often one address may present credentials that are none.

address of a failed call --LoginLimit.failed--> nothing | TooManyFailures, with when to come back

Only failures are counted and refused: behind one address there may be a gateway with many callers,
and no stranger shall be able to lock out one who has a token. Secrets are 256 random bits, so it is
the log and the processor that are guarded, not the secret. Event loop only.
"""

from __future__ import annotations

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable

from service.errors import TooManyFailures

_MOST = 10  # at once; one more every _EVERY_S
_EVERY_S = 6.0
_MOST_ADDRESSES = 4096
_IPV6_SITE = 64  # bits that one caller cannot choose


class LoginLimit:
    """A leaky bucket per address, the longest silent ones forgotten."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._empty_at: OrderedDict[str, float] = OrderedDict()  # when all failures are forgiven

    def __len__(self) -> int:
        return len(self._empty_at)

    def failed(self, address: str) -> None:
        """Note a failure.

        Raises:
            TooManyFailures: there were too many of this address.
        """
        site, now = _site(address), self._clock()
        empty_at = max(self._empty_at.pop(site, now), now)
        full = empty_at - now > (_MOST - 1) * _EVERY_S
        self._empty_at[site] = empty_at if full else empty_at + _EVERY_S
        if len(self._empty_at) > _MOST_ADDRESSES:
            self._empty_at.popitem(last=False)
        if full:
            raise TooManyFailures(
                "too many calls of this address had no known token; wait, then send a known one",
                empty_at - now - (_MOST - 1) * _EVERY_S,
            )


def _site(address: str) -> str:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 4:  # noqa: PLR2004
        return address
    return str(ipaddress.ip_network((int(parsed), _IPV6_SITE), strict=False))
