"""Initial weights: distributions, fans, and generators that are always explicit."""

from __future__ import annotations

import numpy as np
import pytest

from cnnlib.errors import ConfigError
from cnnlib.init import DEFAULT, SCHEMES, as_generator, check_scheme, draw, undrawn
from cnnlib.layers import Conv2d, Linear
from cnnlib.models import lenet5

FAN_IN, FAN_OUT = 400, 300
DEVIATIONS = {
    "fan_in_uniform": (1 / FAN_IN / 3) ** 0.5,
    "he_normal": (2 / FAN_IN) ** 0.5,
    "he_uniform": (2 / FAN_IN) ** 0.5,
    "glorot_normal": (2 / (FAN_IN + FAN_OUT)) ** 0.5,
    "glorot_uniform": (2 / (FAN_IN + FAN_OUT)) ** 0.5,
    "zeros": 0.0,
}


def drawn(scheme: str, seed: int = 0, dtype: type = np.float64) -> tuple[np.ndarray, np.ndarray]:
    weight, bias = np.full((FAN_OUT, FAN_IN), np.nan, dtype), np.full(FAN_OUT, np.nan, dtype)
    draw(weight, bias, scheme, FAN_IN, FAN_OUT, np.random.default_rng(seed))
    return weight, bias


def test_every_scheme_has_its_deviation_here() -> None:
    assert tuple(DEVIATIONS) == SCHEMES


@pytest.mark.parametrize("scheme", SCHEMES)
def test_mean_and_deviation(scheme: str) -> None:
    weight, _ = drawn(scheme)
    # 120,000 numbers: the mean's own deviation is σ/346, the deviation's at most σ/489.
    assert abs(weight.mean()) <= 4 * DEVIATIONS[scheme] / weight.size**0.5
    assert abs(weight.std() - DEVIATIONS[scheme]) <= 0.01 * DEVIATIONS[scheme]


@pytest.mark.parametrize("scheme", [scheme for scheme in SCHEMES if scheme != "zeros"])
def test_uniform_numbers_are_bounded_and_normal_ones_are_not(scheme: str) -> None:
    weight, _ = drawn(scheme)
    bound = 3**0.5 * DEVIATIONS[scheme]
    # Of a normal variable 8.3 % lie beyond √3 σ; a uniform one fills the interval to its ends.
    beyond = (np.abs(weight) > bound).mean()
    if scheme.endswith("uniform"):
        assert beyond == 0
        assert np.abs(weight).max() > 0.999 * bound
    else:
        assert abs(beyond - 0.0833) < 0.005


@pytest.mark.parametrize("scheme", SCHEMES)
def test_biases_are_zero_but_in_pytorchs_scheme(scheme: str) -> None:
    _, bias = drawn(scheme)
    if scheme == DEFAULT:
        assert 0.9 / FAN_IN**0.5 < np.abs(bias).max() <= 1 / FAN_IN**0.5
    else:
        assert (bias == 0).all()


@pytest.mark.parametrize(
    ("layer", "fan_in", "fan_out"),
    [
        (Linear(400, 300), 400, 300),
        (Conv2d(16, 12, 5), 400, 300),
        (Conv2d(16, 12, (5, 3)), 240, 180),
        # Each output reads, and each input feeds, the channels of its own group alone.
        (Conv2d(64, 32, 5, groups=4), 400, 200),
    ],
    ids=["linear", "conv", "oblong", "groups"],
)
def test_fans_are_what_an_output_reads_and_an_input_feeds(layer: Linear | Conv2d, fan_in: int, fan_out: int) -> None:
    for scheme, variance in (("he_normal", 2 / fan_in), ("glorot_normal", 2 / (fan_in + fan_out))):
        layer.init = scheme
        layer.initialize(np.random.default_rng(0))
        assert abs(layer.weight.data.var() / variance - 1) < 0.06


def test_he_keeps_the_scale_of_signals_through_relus(rng: np.random.Generator) -> None:
    # What the scheme is for: after 20 layers the activations are neither lost nor blown up; Glorot's would be 2^-10.
    x = rng.normal(size=(64, 256))
    for i in range(20):
        x = np.maximum(Linear(256, 256, init="he_normal", rng=i, dtype=np.float64).forward(x), 0)
    assert 0.3 < (x**2).mean() < 3


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_seed_is_a_generator_and_fixes_every_bit(scheme: str) -> None:
    def bits(rng: np.random.Generator | int) -> list[bytes]:
        return [array.tobytes() for array in lenet5(init=scheme, rng=rng).state_dict().values()]

    assert bits(3) == bits(np.random.default_rng(3)) == bits(3)
    assert (bits(3) == bits(4)) == (scheme == "zeros")


def test_precisions_share_their_numbers() -> None:
    for scheme in SCHEMES:
        for single, double in zip(drawn(scheme, 3, np.float32), drawn(scheme, 3), strict=True):
            np.testing.assert_array_equal(single, double.astype(np.float32))


def test_without_a_seed_layers_differ_and_numpys_global_generator_is_left_alone() -> None:
    before = np.random.get_state()[1:3]  # noqa: NPY002
    assert (Linear(7, 5).weight.data != Linear(7, 5).weight.data).any()
    after = np.random.get_state()[1:3]  # noqa: NPY002
    np.testing.assert_equal(after, before)


def test_generators_are_taken_as_they_are_and_seeds_are_checked() -> None:
    generator = np.random.default_rng(0)
    assert as_generator(generator) is generator
    assert as_generator(np.int64(7)).integers(1000) == as_generator(7).integers(1000)
    assert as_generator(None).integers(2**62) != as_generator(None).integers(2**62)
    for wrong in (-1, 1.0, True, "7", np.random.RandomState(0)):
        with pytest.raises(ConfigError, match=r"rng = .*expected a numpy\.random\.Generator, a seed of at least 0"):
            as_generator(wrong)  # type: ignore[arg-type]


def test_unknown_schemes_are_refused_with_a_list() -> None:
    assert check_scheme("zeros") == "zeros"
    with pytest.raises(ConfigError, match=r"init = 'xavier': expected one of fan_in_uniform, .*glorot_uniform"):
        check_scheme("xavier")


def test_undrawn_layers_stay_at_zero_and_drawing_comes_back() -> None:
    with undrawn(100):
        assert not Linear(3, 2, rng=0).weight.data.any()
    assert Linear(3, 2, rng=0).weight.data.all()
    with pytest.raises(ConfigError), undrawn(100):
        Linear(0, 2)
    assert Linear(3, 2, rng=0).weight.data.all()
