"""Which template a path is for."""

from __future__ import annotations

import pytest

from service.api.paths import Paths

PATHS = Paths(["/v1/score", "/m/{name}/infer", "/m/{name}/versions/{version}/infer"])


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/v1/score", ("/v1/score", {})),
        ("/m/like/infer", ("/m/{name}/infer", {"name": "like"})),
        ("/m/a/versions/3/infer",
         ("/m/{name}/versions/{version}/infer", {"name": "a", "version": "3"})),
        ("/v1/score/", None),
        ("/m//infer", None),
        ("/m/a/b/infer", None),
        ("/m/a/infer/x", None),
        ("/m/a/infer\n", None),
        ("/m/{name}/infer", ("/m/{name}/infer", {"name": "{name}"})),
    ],
)  # fmt: skip
def test_a_place_holds_one_segment(path: str, found: object) -> None:
    assert PATHS.find(path) == found
