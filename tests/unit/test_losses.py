"""Losses over the vocabulary, against hand-made numbers and PyTorch's own losses."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from a2d.config import WordKD
from a2d.losses import token_loss

TARGETS = torch.tensor([2, 0, 1, 4, 4])
WEIGHTS = torch.tensor([1.0, 0.5, 0.0, 2.0, 0.25], dtype=torch.float64)


def random_logits(seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(5, 6, dtype=torch.float64, generator=generator)


def explicit(logits: Tensor, teacher: Tensor, settings: WordKD) -> Tensor:
    """The divergence of each token as it is written, differentiated by autograd."""
    t = settings.temperature
    p, q = (logits / t).softmax(-1), (teacher / t).softmax(-1)
    if settings.divergence == "mse":
        return F.mse_loss(logits, teacher, reduction="none").mean(-1)
    if settings.divergence == "reverse_kl":
        return F.kl_div(q.log(), p, reduction="none").sum(-1) * t**2
    return F.cross_entropy(logits / t, q, reduction="none") * t**2


SETTINGS = [
    WordKD(kd_weight=weight, divergence=divergence, temperature=temperature)
    for weight in (0.0, 0.4, 1.0)
    for divergence, temperature in (
        ("forward_kl", 1.0),
        ("forward_kl", 2.5),
        ("reverse_kl", 1.0),
        ("reverse_kl", 0.5),
        ("mse", 1.0),
    )
]


def test_values_by_hand() -> None:
    # student (1/2, 1/4, 1/4), target the second; teacher (0, 1/2, 1/2)
    logits = torch.tensor([[2.0, 1, 1]], dtype=torch.float64) * math.log(2)
    teacher = torch.tensor([[0, 0.5, 0.5]], dtype=torch.float64).log()
    settings = WordKD(kd_weight=0.25)
    loss = token_loss(logits, torch.tensor([1]), 0.3, None, settings, teacher)
    ln2 = math.log(2)
    ce = 0.7 * 2 * ln2 + 0.3 * (ln2 + 2 * ln2 + 2 * ln2) / 3
    assert float(loss.nll) == pytest.approx(2 * ln2)
    assert float(loss.word_kd) == pytest.approx(2 * ln2)
    assert float(loss.total) == pytest.approx(0.75 * ce + 0.25 * 2 * ln2)


@pytest.mark.parametrize(
    ("divergence", "expected"),
    [
        # student (1/2, 1/4, 1/4), teacher (1/4, 1/2, 1/4)
        ("forward_kl", 1.75 * math.log(2)),
        ("reverse_kl", 0.25 * math.log(2)),
        ("mse", 2 * math.log(2) ** 2 / 3),
    ],
)
def test_divergences_by_hand(divergence: str, expected: float) -> None:
    logits, teacher = (
        torch.tensor([row], dtype=torch.float64) * math.log(2)
        for row in ([2.0, 1, 1], [1.0, 2, 1])
    )
    settings = WordKD.model_validate({"kd_weight": 1, "divergence": divergence})
    loss = token_loss(logits, torch.tensor([1]), 0.0, None, settings, teacher)
    assert float(loss.word_kd) == pytest.approx(expected)
    assert float(loss.total) == pytest.approx(expected)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_without_teacher_it_is_torch_s_cross_entropy(smoothing: float) -> None:
    ours, theirs = random_logits(1).requires_grad_(), random_logits(1).requires_grad_()
    loss = token_loss(ours, TARGETS, smoothing)
    expected = F.cross_entropy(
        theirs, TARGETS, reduction="sum", label_smoothing=smoothing
    )
    torch.testing.assert_close(loss.total, expected)
    torch.testing.assert_close(
        loss.nll, F.cross_entropy(theirs, TARGETS, reduction="sum")
    )
    assert float(loss.word_kd) == 0
    loss.total.backward()
    expected.backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_with_teacher_it_is_the_formula(
    settings: WordKD, weights: Tensor | None
) -> None:
    teacher = random_logits(2)
    ours, theirs = random_logits(1).requires_grad_(), random_logits(1).requires_grad_()
    loss = token_loss(ours, TARGETS, 0.1, weights, settings, teacher)
    counts = torch.ones_like(WEIGHTS) if weights is None else weights
    ce = F.cross_entropy(theirs, TARGETS, reduction="none", label_smoothing=0.1)
    kd, a = explicit(theirs, teacher, settings), settings.kd_weight
    expected = (counts * ((1 - a) * ce + a * kd)).sum()
    torch.testing.assert_close(loss.total, expected)
    torch.testing.assert_close(loss.word_kd, (counts * kd).sum())
    (3 * loss.total).backward()
    (3 * expected).backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_mean_squared_error_is_twice_the_limit_of_hot_distributions() -> None:
    """Hinton et al. (2015), section 2.1: for centred logits and a high temperature."""
    logits, teacher = (random_logits(seed) for seed in (1, 2))
    logits, teacher = (z - z.mean(1, keepdim=True) for z in (logits, teacher))

    def gradient(settings: WordKD) -> Tensor:
        student = logits.clone().requires_grad_()
        token_loss(student, TARGETS, 0.0, None, settings, teacher).total.backward()
        assert student.grad is not None
        return student.grad

    mse = gradient(WordKD(kd_weight=1, divergence="mse"))
    for divergence in ("forward_kl", "reverse_kl"):
        values = {"kd_weight": 1, "divergence": divergence, "temperature": 1e5}
        limit = gradient(WordKD.model_validate(values))
        torch.testing.assert_close(2 * limit, mse, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_inputs_are_left_alone(settings: WordKD) -> None:
    logits, teacher = random_logits(1), random_logits(2)
    before = logits.clone(), teacher.clone()
    token_loss(logits, TARGETS, 0.1, WEIGHTS, settings, teacher)
    assert torch.equal(logits, before[0])
    assert torch.equal(teacher, before[1])


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_gradient_is_right(settings: WordKD) -> None:
    teacher = random_logits(2)
    assert torch.autograd.gradcheck(
        lambda x: token_loss(x, TARGETS, 0.1, WEIGHTS, settings, teacher).total,
        random_logits(1).requires_grad_(),
    )


def test_only_the_total_has_a_gradient() -> None:
    logits = random_logits(1).requires_grad_()
    settings = WordKD(kd_weight=0.3)
    loss = token_loss(logits, TARGETS, 0.1, None, settings, random_logits(2))
    assert loss.total.requires_grad
    assert not loss.nll.requires_grad
    assert not loss.word_kd.requires_grad


@pytest.mark.parametrize(
    ("divergence", "has_entropy"),
    [("forward_kl", True), ("reverse_kl", False), ("mse", False)],
)
def test_word_kd_is_least_where_student_and_teacher_agree(
    divergence: str, has_entropy: bool
) -> None:
    teacher = random_logits(2)
    logits = teacher.clone().requires_grad_()
    settings = WordKD.model_validate({"kd_weight": 1, "divergence": divergence})
    loss = token_loss(logits, TARGETS, 0.1, None, settings, teacher)
    entropy = torch.distributions.Categorical(logits=teacher).entropy().sum()
    torch.testing.assert_close(loss.total, has_entropy * entropy)
    loss.total.backward()
    torch.testing.assert_close(logits.grad, torch.zeros_like(logits))
