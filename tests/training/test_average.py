import pytest
from torch import nn

from training.average import WeightAverage

WALK = (1.0, 4.0, 2.0, 8.0, -1.0)


def point() -> nn.Linear:
    """One weight, which a test moves by hand."""
    return nn.Linear(1, 1, bias=False)


def walked(module: nn.Linear, average: WeightAverage, steps: tuple[float, ...] = WALK) -> None:
    for value in steps:
        nn.init.constant_(module.weight, value)
        average.take()


def worn(module: nn.Linear, average: WeightAverage) -> float:
    with average.worn():
        return module.weight.item()


def test_the_mean_follows_its_recurrence_with_a_smaller_decay_at_first() -> None:
    module = point()
    average = WeightAverage(module, 0.5)
    walked(module, average)
    mean = 0.0
    for step, value in enumerate(WALK):
        decay = min(0.5, step / (step + 3))
        mean = decay * mean + (1 - decay) * value
    assert worn(module, average) == pytest.approx(mean, rel=1e-6)


def test_weights_that_jump_around_a_point_have_their_mean_there() -> None:
    module = point()
    average = WeightAverage(module, 0.99)
    walked(module, average, (1.0, -1.0) * 500)
    assert abs(worn(module, average)) < 0.02


def test_before_the_second_step_the_mean_is_the_weights() -> None:
    module = point()
    average = WeightAverage(module, 0.99)
    start = module.weight.item()
    assert worn(module, average) == start
    walked(module, average, (7.0,))
    assert worn(module, average) == 7.0


def test_the_module_has_its_own_weights_again_also_after_an_error() -> None:
    module = point()
    average = WeightAverage(module, 0.9)
    walked(module, average)
    weight = module.weight
    with pytest.raises(KeyError), average.worn():
        raise KeyError
    assert module.weight is weight
    assert weight.item() == WALK[-1]
    assert worn(module, average) != WALK[-1]


def test_a_decay_of_zero_keeps_nothing() -> None:
    module = point()
    average = WeightAverage(module, 0.0)
    walked(module, average)
    assert worn(module, average) == WALK[-1]
    assert average.state() == {}
    average.load({})


def test_what_requires_no_gradient_is_left_out() -> None:
    module = nn.Sequential(point(), point().requires_grad_(requires_grad=False))
    assert set(WeightAverage(module, 0.9).state()) == {"taken", "0"}


def test_a_loaded_state_goes_on_to_the_same_bits() -> None:
    whole, cut = point(), point()
    average, first, second = (WeightAverage(m, 0.9) for m in (whole, cut, cut))
    walked(whole, average)
    walked(cut, first, WALK[:3])
    second.load({name: tensor.clone() for name, tensor in first.state().items()})
    walked(cut, second, WALK[3:])
    assert worn(cut, second) == worn(whole, average)
