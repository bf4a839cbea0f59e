from collections.abc import Iterator

import pytest
import torch

from tests.training.synthetic import Fitted, fitted_world


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """Batches of a few hundred rows lose by threads, the more so beside other work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    """One trained backbone of the synthetic world; tests only read it."""
    return fitted_world(tmp_path_factory.mktemp("synthetic"))
