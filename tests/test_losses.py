"""Losses: values, gradients against central differences, stability, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import check_gradient

from cnnlib import functional
from cnnlib.errors import CNNError, DataError, DTypeError, ShapeError, TrainingError
from cnnlib.losses import BCELoss, CrossEntropyLoss, L1Loss, MSELoss

LABELS = np.array([2, 0, 1, 2, 2])


def _cases(rng):
    """Every loss with a float64 prediction of 5 samples and a target."""
    logits = rng.normal(size=(5, 3))
    soft = functional.softmax(rng.normal(size=(5, 3)))
    probabilities = functional.softmax(logits)
    return {
        "logits, labels": (CrossEntropyLoss(), logits, LABELS),
        "logits, soft": (CrossEntropyLoss(), logits, soft),
        "probabilities, labels": (CrossEntropyLoss(from_logits=False), probabilities, LABELS),
        "probabilities, soft": (CrossEntropyLoss(from_logits=False), probabilities, soft),
        "bce": (BCELoss(), functional.sigmoid(logits), soft),
        "bce, scores": (BCELoss(from_logits=True), logits, soft),
        "bce, labels": (BCELoss(from_logits=True), logits[:, 0].copy(), LABELS > 1),
        "l1": (L1Loss(), logits, soft),
        "mse": (MSELoss(), logits, soft),
        "mse on images": (MSELoss(), rng.normal(size=(5, 2, 3, 3)), rng.normal(size=(5, 2, 3, 3))),
    }


CASES = list(_cases(np.random.default_rng(0)))


@pytest.fixture(params=CASES)
def case(request, rng):
    return _cases(rng)[request.param]


def test_gradient_is_the_derivative(case):
    loss, prediction, target = case

    def gradient(direction):
        loss.forward(prediction, target)
        return direction * loss.backward()

    check_gradient(lambda: np.array(loss.forward(prediction, target)), gradient, prediction)


def test_batch_is_the_mean_of_its_samples(case):
    loss, prediction, target = case
    value = loss.forward(prediction, target)
    grad = loss.backward()
    values, grads = [], []
    for sample in range(5):
        values.append(loss.forward(prediction[sample : sample + 1], target[sample : sample + 1]))
        grads.append(loss.backward())
    np.testing.assert_allclose(value, np.mean(values), rtol=1e-14)
    np.testing.assert_allclose(grad, np.concatenate(grads) / 5, rtol=1e-14)


def test_value_is_a_float_and_gradient_has_the_prediction_dtype(case, dtype):
    loss, prediction, target = case
    assert type(loss.forward(prediction.astype(dtype), target)) is float
    grad = loss.backward()
    assert grad.dtype == dtype
    assert grad.shape == prediction.shape


def test_mse_is_the_lectures_half():
    loss = MSELoss()
    assert loss.forward(np.array([[1.0, 2.0], [5.0, 1.0]]), np.array([[0, 0], [5, 3]])) == (1 + 4 + 0 + 4) / (2 * 2)
    np.testing.assert_array_equal(loss.backward(), [[0.5, 1.0], [0.0, -1.0]])


@pytest.mark.parametrize("target", [LABELS, np.eye(3)[LABELS]], ids=["labels", "one-hot"])
def test_fused_equals_softmax_then_probabilities(rng, target):
    logits = rng.normal(size=(5, 3))
    p = functional.softmax(logits)
    fused, plain = CrossEntropyLoss(), CrossEntropyLoss(from_logits=False)
    np.testing.assert_allclose(fused.forward(logits, target), plain.forward(p, target), rtol=1e-14)
    one_hot = np.eye(3)[LABELS]
    np.testing.assert_allclose(fused.backward(), (p - one_hot) / 5, atol=1e-15)
    np.testing.assert_allclose(plain.backward(), -one_hot / p / 5, atol=1e-15)
    np.testing.assert_allclose(functional.softmax_backward(plain.backward(), p), fused.backward(), atol=1e-15)


@pytest.mark.parametrize("target_dtype", [np.uint8, np.int32, np.int64, np.uint64])
def test_labels_may_be_any_integers(rng, target_dtype):
    logits = rng.normal(size=(5, 3))
    expected = CrossEntropyLoss().forward(logits, np.eye(3)[LABELS])
    assert CrossEntropyLoss().forward(logits, LABELS.astype(target_dtype)) == pytest.approx(expected, rel=1e-14)


def test_one_hot_may_be_bool_or_int(rng):
    logits = rng.normal(size=(5, 3)).astype(np.float32)
    expected = CrossEntropyLoss().forward(logits, LABELS)
    for one_hot in (np.eye(3, dtype=bool), np.eye(3, dtype=np.uint8)):
        assert CrossEntropyLoss().forward(logits, one_hot[LABELS]) == pytest.approx(expected, rel=1e-6)


def test_logits_of_any_size_are_stable(dtype):
    logits = np.array([[1000, -1000], [1000, -1000]], dtype)
    loss = CrossEntropyLoss()
    assert loss.forward(logits, np.array([0, 1])) == 1000.0
    np.testing.assert_array_equal(loss.backward(), [[0.0, 0.0], [0.5, -0.5]])


def test_probability_zero_is_dear_but_finite(dtype):
    loss = CrossEntropyLoss(from_logits=False)
    for target in (np.array([1]), np.array([[0.0, 1.0]])):
        value = loss.forward(np.array([[1.0, 0.0]], dtype), target)
        assert value == pytest.approx(-np.log(np.finfo(dtype).tiny), rel=1e-6)
        grad = loss.backward()
        assert grad[0, 0] == 0.0
        assert np.isfinite(grad).all()
        assert grad[0, 1] < -1e37
    assert loss.forward(np.array([[1.0, 0.0]], dtype), np.array([0])) == 0.0


def test_nan_comes_out_as_nan():
    nan = np.array([[np.nan, 1.0]])
    assert np.isnan(CrossEntropyLoss().forward(nan, np.array([1])))
    assert np.isnan(CrossEntropyLoss(from_logits=False).forward(nan, np.array([0])))
    assert np.isnan(MSELoss().forward(nan, nan))


GOOD = np.zeros((2, 3))


@pytest.mark.parametrize(
    ("loss", "prediction", "target", "error", "message"),
    [
        (CrossEntropyLoss(), GOOD, np.array([0, 3]), DataError, r"label 3 at index 1 .* 3 classes.* 0…2"),
        (CrossEntropyLoss(), GOOD, np.array([-1, 0]), DataError, r"label -1 at index 0"),
        (CrossEntropyLoss(), GOOD, np.array([0.0, 1.0]), DTypeError, r"float64; use target.astype"),
        (CrossEntropyLoss(), GOOD, np.array([True, False]), DTypeError, r"integers, got bool"),
        (CrossEntropyLoss(), GOOD, np.array([[0], [1]]), ShapeError, r"\(2, 1\); use target.ravel"),
        (CrossEntropyLoss(), GOOD, np.array([0, 1, 2]), ShapeError, r"2 class indices.*got shape \(3,\)"),
        (CrossEntropyLoss(), GOOD, np.ones((2, 3)), DataError, r"target row 0 .* sum 3"),
        (CrossEntropyLoss(), GOOD, np.array([[1, 0, 0], [2.0, -1, 0]]), DataError, r"target row 1 .* smallest -1"),
        (CrossEntropyLoss(), GOOD, np.array([[1, 0, 0], [np.nan, 1, 0]]), DataError, r"target row 1"),
        (CrossEntropyLoss(), GOOD, np.full((2, 3), "a"), DTypeError, r"numbers"),
        (CrossEntropyLoss(), np.zeros((2, 3, 4)), np.array([0, 1]), ShapeError, r"N×C, got shape \(2, 3, 4\)"),
        (CrossEntropyLoss(), np.zeros((2, 3), int), np.array([0, 1]), DTypeError, r"float32 or float64, got int"),
        (CrossEntropyLoss(), np.zeros((0, 3)), np.zeros(0, int), DataError, r"batch is empty"),
        (CrossEntropyLoss(False), np.array([[0.5, 0.5], [2, -1]]), np.array([0, 1]), DataError, r"\[1, 0\] = 2 .*Soft"),
        (MSELoss(), np.zeros((4, 1)), np.zeros(4), ShapeError, r"\(4, 1\), got \(4,\); use target.reshape\(4, 1\)"),
        (MSELoss(), np.zeros((4, 1)), np.zeros((4, 2)), ShapeError, r"got \(4, 2\)$"),
        (MSELoss(), np.zeros((0, 2)), np.zeros((0, 2)), DataError, r"empty"),
        (MSELoss(), np.zeros(2), np.zeros(2, complex), DTypeError, r"real numbers"),
        (MSELoss(), np.float64(1.0), np.float64(1.0), ShapeError, r"batch axis"),
    ],
)
def test_what_cannot_be_is_refused(loss, prediction, target, error, message):
    with pytest.raises(error, match=message) as caught:
        loss.forward(prediction, target)
    assert isinstance(caught.value, CNNError)
    assert type(loss).__name__ in str(caught.value)


@pytest.mark.parametrize("loss", [CrossEntropyLoss(), MSELoss()], ids=repr)
def test_backward_before_forward_is_refused(loss):
    with pytest.raises(TrainingError, match="backward before forward"):
        loss.backward()


def test_bce_from_scores_is_stable_at_any_size(dtype):
    loss = BCELoss(from_logits=True)
    scores, target = np.array([1000, -1000, 1000, -1000], dtype), np.array([1, 0, 0, 1])
    assert loss.forward(scores, target) == 500.0
    np.testing.assert_array_equal(loss.backward(), [0, 0, 0.25, -0.25])


def test_bce_on_probabilities_stays_finite(dtype):
    loss = BCELoss()
    probabilities, target = np.array([1, 0, 0, 1], dtype), np.array([1, 0, 1, 0])
    assert loss.forward(probabilities, target) == pytest.approx(-np.log(np.finfo(dtype).tiny) / 2)
    assert np.isfinite(loss.backward()).all()


def test_bce_of_scores_equals_sigmoid_then_probabilities(rng):
    scores, target = rng.normal(size=(6, 2)), rng.random((6, 2))
    p = functional.sigmoid(scores)
    fused, plain = BCELoss(from_logits=True), BCELoss()
    assert fused.forward(scores, target) == pytest.approx(plain.forward(p, target), rel=1e-14)
    np.testing.assert_allclose(fused.backward(), functional.sigmoid_backward(plain.backward(), p), rtol=1e-12)


def test_l1_sums_over_features_and_is_flat_at_zero():
    loss = L1Loss()
    assert loss.forward(np.array([[1.0, 2.0], [5.0, 1.0]]), np.array([[0, 2], [5, 4]])) == (1 + 0 + 0 + 3) / 2
    np.testing.assert_array_equal(loss.backward(), [[0.5, 0.0], [0.0, -0.5]])


@pytest.mark.parametrize(
    ("loss", "prediction", "target", "words"),
    [
        (BCELoss(), [0.5, 1.5], [0, 1], ["prediction[1] = 1.5", "Sigmoid"]),
        (BCELoss(), [0.5, -0.5], [0, 1], ["prediction[1] = -0.5"]),
        (BCELoss(True), [0.5, 7.0], [0, 2], ["target[1] = 2", "labels 0 and 1"]),
        (BCELoss(True), [0.5, 7.0], [0, np.nan], ["target[1] = nan"]),
        (BCELoss(True), [0.5, 7.0], [[0], [1]], ["(2,)", "reshape"]),
        (L1Loss(), [0.5, 7.0], [0, 2, 3], ["L1Loss()", "(2,)", "(3,)"]),
    ],
)
def test_elementwise_losses_refuse(loss, prediction, target, words):
    with pytest.raises((ShapeError, DataError)) as caught:
        loss.forward(np.array(prediction), np.array(target))
    assert all(word in str(caught.value) for word in words), str(caught.value)
