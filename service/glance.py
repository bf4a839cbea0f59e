"""A request that came whole in one piece, read no further than a refusal needs.

    bytes --glance--> Seen(target, request id)
             └--> None: in pieces, several, or with anything that the parser should judge

Under overload most requests are refused, and the parser's calls for each header cost more than the
refusal. What passes here the parser would take for the same one request, to the same last byte: who
stands before this server (a proxy) must never see another end of it.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_LONGEST_HEAD = 8192
# Possessive (*+, ++): nothing is tried twice, so no head takes longer than its length.
_HEAD = re.compile(
    rb"POST (?P<target>/[!-~]*+) HTTP/1\.1\r\n"
    rb"(?P<fields>(?:[A-Za-z0-9_-]++:[\t -~]*+\r\n)++)\r\n"
)
_FIELD = re.compile(
    rb"^(?:content-length:[ \t]*+(?P<length>[0-9]{1,9}+)[ \t]*+"
    rb"|x-request-id:[ \t]*+(?P<id>[!-~]*+)[ \t]*+"
    rb"|connection:[ \t]*+keep-alive[ \t]*+"
    rb"|(?P<other>content-length|x-request-id|connection|transfer-encoding|expect|upgrade|te|trailer"
    rb"|proxy-connection|keep-alive):.*)\r$",
    re.IGNORECASE | re.MULTILINE,
)


class Seen(NamedTuple):
    """What is known of the request; the id as it was given, if it was."""

    target: bytes
    request_id: bytes | None


def glance(data: bytes) -> Seen | None:
    """A POST whose head and body are all there is of these bytes."""
    head = _HEAD.match(data, 0, _LONGEST_HEAD)
    if head is None:
        return None
    lengths: list[int] = []
    request_id = None
    for field in _FIELD.finditer(head["fields"]):
        length, given, other = field.groups()
        if other is not None or (given is not None and request_id is not None):
            return None
        if length is not None:
            lengths.append(int(length))
        request_id = request_id if given is None else given
    whole = len(lengths) == 1 and head.end() + lengths[0] == len(data)
    return Seen(head["target"], request_id) if whole else None
