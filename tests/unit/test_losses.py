"""Losses over the vocabulary, against hand-made numbers and PyTorch's own losses."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from a2d.losses import token_loss

TARGETS = torch.tensor([2, 0, 1, 4, 4])


def random_logits(seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(5, 6, dtype=torch.float64, generator=generator)


def explicit(
    logits: Tensor, smoothing: float, teacher: Tensor, kd_weight: float, t: float
) -> Tensor:
    """The formula as it is written, differentiated by autograd."""
    ce = F.cross_entropy(logits, TARGETS, reduction="sum", label_smoothing=smoothing)
    q = (teacher / t).softmax(-1)
    kd = F.cross_entropy(logits / t, q, reduction="sum") * t**2
    return (1 - kd_weight) * ce + kd_weight * kd


def test_values_by_hand() -> None:
    # student (1/2, 1/4, 1/4), target the second; teacher (0, 1/2, 1/2)
    logits = torch.tensor([[2.0, 1, 1]], dtype=torch.float64) * math.log(2)
    teacher = torch.tensor([[0, 0.5, 0.5]], dtype=torch.float64).log()
    loss = token_loss(logits, torch.tensor([1]), 0.3, teacher, 0.25)
    ln2 = math.log(2)
    ce = 0.7 * 2 * ln2 + 0.3 * (ln2 + 2 * ln2 + 2 * ln2) / 3
    assert float(loss.nll) == pytest.approx(2 * ln2)
    assert float(loss.word_kd) == pytest.approx(2 * ln2)
    assert float(loss.total) == pytest.approx(0.75 * ce + 0.25 * 2 * ln2)


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


@pytest.mark.parametrize("temperature", [1.0, 2.5])
@pytest.mark.parametrize("kd_weight", [0.0, 0.4, 1.0])
def test_with_teacher_it_is_the_formula(kd_weight: float, temperature: float) -> None:
    teacher = random_logits(2).log_softmax(-1)
    ours, theirs = random_logits(1).requires_grad_(), random_logits(1).requires_grad_()
    loss = token_loss(ours, TARGETS, 0.1, teacher, kd_weight, temperature)
    expected = explicit(theirs, 0.1, teacher, kd_weight, temperature)
    torch.testing.assert_close(loss.total, expected)
    (3 * loss.total).backward()
    (3 * expected).backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_inputs_are_left_alone() -> None:
    logits, teacher = random_logits(1), random_logits(2).log_softmax(-1)
    before = logits.clone(), teacher.clone()
    token_loss(logits, TARGETS, 0.1, teacher, 0.5)
    assert torch.equal(logits, before[0])
    assert torch.equal(teacher, before[1])


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_gradient_is_right(temperature: float) -> None:
    teacher = random_logits(2).log_softmax(-1)
    assert torch.autograd.gradcheck(
        lambda x: token_loss(x, TARGETS, 0.1, teacher, 0.3, temperature).total,
        random_logits(1).requires_grad_(),
    )


def test_only_the_total_has_a_gradient() -> None:
    logits = random_logits(1).requires_grad_()
    loss = token_loss(logits, TARGETS, 0.1, random_logits(2).log_softmax(-1), 0.3)
    assert loss.total.requires_grad
    assert not loss.nll.requires_grad
    assert not loss.word_kd.requires_grad


def test_word_kd_is_least_where_student_and_teacher_agree() -> None:
    teacher = random_logits(2).log_softmax(-1)
    logits = teacher.clone().requires_grad_()
    loss = token_loss(logits, TARGETS, 0.1, teacher, kd_weight=1.0)
    entropy = -(teacher.exp() * teacher).sum()
    torch.testing.assert_close(loss.total, entropy)
    loss.total.backward()
    torch.testing.assert_close(logits.grad, torch.zeros_like(logits))
