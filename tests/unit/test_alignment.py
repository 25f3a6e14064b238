"""The Attention Alignment Module and its losses, against sums by hand."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from a2d.alignment import AttentionAlignment, map_shape, released_loss, rowwise_loss
from a2d.config import A2D, ATTENTIONS, Model

MODEL: dict[str, Any] = {
    "d_model": 12,
    "d_ff": 16,
    "dropout": 0,
    "norm": "post",
    "tie_embeddings": "none",
}
Float = NDArray[np.float64]
Bool = NDArray[np.bool_]


def model(encoder: int, decoder: int, heads: int) -> Model:
    shape = {
        "num_encoder_layers": encoder,
        "num_decoder_layers": decoder,
        "num_heads": heads,
    }
    return Model.model_validate(MODEL | shape)


SHAPES = [  # student, teacher: (encoder layers, decoder layers, heads)
    ((1, 2, 2), (3, 4, 6)),
    ((3, 3, 4), (2, 1, 4)),
    ((2, 2, 1), (2, 2, 3)),
]


# By hand: numpy in double precision, one number after the other -----------------------


def probabilities(scores: Float) -> Float:
    exponentials = np.exp(scores - scores.max())
    return exponentials / exponentials.sum()


def kl(target: Float, probs: Float) -> float:
    return sum(t * math.log(t / p) for t, p in zip(target, probs, strict=True) if t > 0)


def rowwise_by_hand(
    scores: Float, teacher: Float, queries: Bool, keys: Bool, temperature: float
) -> float:
    """Sum over queries and maps; `keys` is (B, Q, K)."""
    batch, num_maps, num_queries, _ = scores.shape
    total = 0.0
    for b in range(batch):
        for m in range(num_maps):
            for q in range(num_queries):
                if queries[b, q]:
                    seen = keys[b, q]
                    target = teacher[b, m, q, seen] ** (1 / temperature)
                    target /= target.sum()
                    student = probabilities(scores[b, m, q, seen] / temperature)
                    total += temperature**2 * kl(target, student)
    return total


def released_by_hand(
    scores: Float, teacher: Float, queries: Bool, keys: Bool, temperature: float
) -> float:
    """Sum over sentences and maps of one divergence of the whole map."""
    total = 0.0
    for b in range(scores.shape[0]):
        for m in range(scores.shape[1]):
            real = queries[b][:, None] & keys[b]
            target = probabilities(teacher[b, m][real] / temperature)
            student = probabilities(scores[b, m][real] / temperature)
            total += temperature**2 * kl(target, student)
    return total


def mixed_by_hand(weight: Float, bias: Float, maps: list[Float]) -> Float:
    return np.einsum("ts,bsqk->btqk", weight, np.concatenate(maps, 1)) + bias.reshape(
        1, -1, 1, 1
    )


LOSSES = [(rowwise_loss, rowwise_by_hand), (released_loss, released_by_hand)]
both_modes = pytest.mark.parametrize(("loss", "by_hand"), LOSSES)


# Maps of two sentences of unequal length ----------------------------------------------


def random_maps(
    *sizes: int, causal: bool = False, seed: int = 1
) -> tuple[list[torch.Tensor], torch.Tensor, torch.Tensor]:
    """Maps (2, size, Q, K) of each size, queries (2, Q), keys (2, 1, Q, K)."""
    torch.manual_seed(seed)
    queries = torch.tensor([[True] * 4, [True] * 2 + [False] * 2])
    keys = queries if causal else torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    mask = keys[:, None, None].expand(2, 1, 4, -1)
    if causal:
        mask = mask & torch.ones(4, 4).bool().tril()
    maps = [
        torch.randn(2, size, *mask.shape[2:], dtype=torch.float64)
        .masked_fill(~mask, -torch.inf)
        .softmax(-1)
        for size in sizes
    ]
    return maps, queries, mask


def as_numpy(*tensors: torch.Tensor) -> list[NDArray[Any]]:
    return [tensor.detach().numpy() for tensor in tensors]


@both_modes
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("temperature", [1.0, 2.0, 0.5])
def test_losses_against_loops(
    loss: Callable[..., torch.Tensor],
    by_hand: Callable[..., float],
    causal: bool,
    temperature: float,
) -> None:
    (teacher,), queries, keys = random_maps(3, causal=causal)
    scores = torch.randn_like(teacher)
    expected = by_hand(*as_numpy(scores, teacher, queries, keys[:, 0]), temperature)
    found = loss(scores, teacher, queries, keys, None, temperature)
    assert float(found) == pytest.approx(expected, rel=1e-12)


@both_modes
def test_sentences_count_with_their_weights(
    loss: Callable[..., torch.Tensor], by_hand: Callable[..., float]
) -> None:
    (teacher,), queries, keys = random_maps(3)
    scores = torch.randn_like(teacher)
    expected = sum(
        weight
        * by_hand(
            *as_numpy(*(t[b : b + 1] for t in (scores, teacher, queries, keys[:, 0]))),
            1.0,
        )
        for b, weight in enumerate((0.25, 3.0))
    )
    weights = torch.tensor([0.25, 3.0], dtype=torch.float64)
    found = loss(scores, teacher, queries, keys, weights)
    assert float(found) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("student", "teacher"), SHAPES)
@pytest.mark.parametrize("kind", ATTENTIONS)
@pytest.mark.parametrize("granularity", ["head", "layer"])
@pytest.mark.parametrize(
    ("mode", "mix_teacher"), [("rowwise", False), ("released", False), ("released", 1)]
)
def test_whole_module_against_loops(
    student: tuple[int, int, int],
    teacher: tuple[int, int, int],
    kind: str,
    granularity: str,
    mode: str,
    mix_teacher: bool,
) -> None:
    settings = A2D.model_validate(
        {"mode": mode, "granularity": granularity, "mix_teacher": mix_teacher}
    )
    torch.manual_seed(2)
    module = AttentionAlignment(model(*student), model(*teacher), settings).double()
    layers_s, layers_t = (
        map_shape(model(*m), kind, "head")[0] for m in (student, teacher)
    )
    sizes = [student[2]] * layers_s + [teacher[2]] * layers_t
    maps, queries, keys = random_maps(*sizes, causal=kind == "dec_self_attn")
    found = module(kind, maps[:layers_s], maps[layers_s:], queries, keys)

    arrays = as_numpy(*maps)
    if granularity == "layer":
        arrays = [array.mean(1, keepdims=True) for array in arrays]
    convolution: Any = module.convolutions[kind]
    weight, bias = as_numpy(convolution.weight[:, :, 0, 0], convolution.bias)
    scores = mixed_by_hand(weight, bias, arrays[:layers_s])
    target = np.concatenate(arrays[layers_s:], 1)
    if mix_teacher:
        convolution = module.teacher_convolutions[kind]
        weight, bias = as_numpy(convolution.weight[:, :, 0, 0], convolution.bias)
        target = mixed_by_hand(weight, bias, arrays[layers_s:])
    masks = as_numpy(queries, keys[:, 0])
    if mode == "rowwise":
        expected = rowwise_by_hand(scores, target, *masks, 1.0) / target.shape[1]
    else:
        expected = released_by_hand(scores, target, *masks, 1.0)
    assert float(found.detach()) == pytest.approx(expected, rel=1e-10)


# Facts --------------------------------------------------------------------------------


def test_worked_example() -> None:
    """A one-hot diagonal against a uniform map: 80.5, and as released 0.035."""
    teacher = torch.eye(25, dtype=torch.float64)[None, None]
    scores, queries = torch.zeros_like(teacher), torch.ones(1, 25).bool()
    keys = torch.ones(1, 1, 25, 25).bool()
    loss = float(rowwise_loss(scores, teacher, queries, keys))
    assert loss == pytest.approx(25 * math.log(25), abs=1e-9)
    assert round(loss, 1) == 80.5
    assert round(float(released_loss(scores, teacher, queries, keys)), 3) == 0.035


def test_literal_rows() -> None:
    # student rows (1/2, 1/2) and (3/4, 1/4), teacher rows (1, 0) and (1/4, 3/4)
    scores = torch.tensor([[[[0, 0], [math.log(3), 0]]]], dtype=torch.float64)
    teacher = torch.tensor([[[[1, 0], [0.25, 0.75]]]], dtype=torch.float64)
    queries, keys = torch.ones(1, 2).bool(), torch.ones(1, 1, 2, 2).bool()
    first = math.log(2)
    second = 0.25 * math.log(1 / 3) + 0.75 * math.log(3)
    loss = rowwise_loss(scores, teacher, queries, keys)
    assert float(loss) == pytest.approx(first + second, abs=1e-12)


@both_modes
def test_padding_has_neither_loss_nor_gradient(
    loss: Callable[..., torch.Tensor], by_hand: Callable[..., float]
) -> None:
    (teacher,), queries, keys = random_maps(3)
    scores = torch.randn_like(teacher)
    padded = ~(queries[:, None, :, None] & keys).expand_as(scores)
    changed = scores.masked_fill(padded, 1e3).requires_grad_()
    found = loss(changed, teacher, queries, keys)
    torch.testing.assert_close(found, loss(scores, teacher, queries, keys))
    found.backward()
    assert changed.grad is not None
    assert (changed.grad[padded] == 0).all()
    assert (changed.grad[~padded] != 0).all()


def test_equal_maps_have_no_loss() -> None:
    (teacher,), queries, keys = random_maps(3)
    scores = teacher.clamp(min=1e-300).log() + 7  # a softmax ignores constants
    assert float(rowwise_loss(scores, teacher, queries, keys)) == pytest.approx(0)
    assert float(released_loss(teacher + 7, teacher, queries, keys)) == pytest.approx(0)


@both_modes
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_gradient_is_right(
    loss: Callable[..., torch.Tensor], by_hand: Callable[..., float], temperature: float
) -> None:
    (teacher,), queries, keys = random_maps(3)
    weights = torch.tensor([0.25, 3.0], dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda s: loss(s, teacher, queries, keys, weights, temperature),
        torch.randn_like(teacher).requires_grad_(),
    )


@pytest.mark.parametrize("mode", ["rowwise", "released"])
@pytest.mark.parametrize("granularity", ["head", "layer"])
def test_gradient_of_the_module_is_right(mode: str, granularity: str) -> None:
    settings = A2D.model_validate({"mode": mode, "granularity": granularity})
    module = AttentionAlignment(model(2, 1, 2), model(3, 1, 2), settings).double()
    maps, queries, keys = random_maps(2, 2, 2, 2, 2)
    convolution: Any = module.convolutions["enc_self_attn"]

    def loss(first: torch.Tensor, second: torch.Tensor, *_: torch.Tensor) -> Any:
        return module("enc_self_attn", [first, second], maps[2:], queries, keys)

    inputs = [m.requires_grad_() for m in maps[:2]]
    assert torch.autograd.gradcheck(
        loss, (*inputs, convolution.weight, convolution.bias)
    )


@both_modes
def test_single_precision_stays_finite_on_one_hot_maps(
    loss: Callable[..., torch.Tensor], by_hand: Callable[..., float]
) -> None:
    teacher = torch.eye(6)[None, None]
    scores = (1e4 * (1 - torch.eye(6)))[None, None].requires_grad_()
    queries, keys = torch.ones(1, 6).bool(), torch.ones(1, 1, 6, 6).bool()
    found = loss(scores, teacher, queries, keys)
    found.backward()
    assert scores.grad is not None
    assert found.isfinite()
    assert scores.grad.isfinite().all()


def test_half_precision_is_summed_in_single() -> None:
    (teacher,), queries, keys = random_maps(3)
    scores = torch.randn_like(teacher).bfloat16()
    found = rowwise_loss(scores, teacher.float(), queries, keys)
    assert found.dtype == torch.float32
    expected = rowwise_loss(scores.double(), teacher, queries, keys)
    assert float(found) == pytest.approx(float(expected), rel=1e-5)


def test_maps_are_not_held_twice() -> None:
    """What the loss keeps until the backward pass is as large as the teacher's maps."""
    module = AttentionAlignment(model(3, 1, 4), model(6, 1, 4), A2D())
    maps = [torch.rand(8, 4, 64, 64).softmax(-1) for _ in range(9)]
    student = [m.requires_grad_() for m in maps[:3]]
    queries, keys = torch.ones(8, 64).bool(), torch.ones(8, 1, 1, 64).bool()
    with torch.profiler.profile(profile_memory=True) as profile:
        loss = module("enc_self_attn", student, maps[3:], queries, keys)
    assert profile.profiler is not None
    events = profile.profiler.kineto_results.events()
    changes = [e.nbytes() for e in events if e.name() == "[memory]"]
    one_layer = maps[0].numel() * maps[0].element_size()
    assert sum(changes) == pytest.approx(6 * one_layer, rel=0.02)
    assert max(itertools.accumulate(changes)) < (6 + 6) * one_layer
    loss.backward()
    assert all(m.grad is not None for m in student)


# What is learned ----------------------------------------------------------------------


def test_mixture_of_the_teacher_is_saved_but_never_trained() -> None:
    settings = A2D(mode="released", mix_teacher=True)
    module = AttentionAlignment(model(1, 1, 2), model(2, 2, 3), settings)
    frozen = [n for n, p in module.named_parameters() if not p.requires_grad]
    assert len(frozen) == 2 * len(ATTENTIONS)
    assert all(name.startswith("teacher_convolutions.") for name in frozen)
    assert set(frozen) <= set(module.state_dict())


def test_what_was_learned_is_told_with_its_shapes() -> None:
    settings = A2D(enc_self_attn=0, dec_self_attn=0)
    module = AttentionAlignment(model(1, 2, 2), model(3, 4, 6), settings)
    (learned,) = module.learned().items()
    kind, facts = learned
    assert kind == "cross_attn"
    assert (facts["student"], facts["teacher"]) == ((2, 2), (4, 6))
    weight = module.convolutions.get_parameter("cross_attn.weight")
    assert torch.equal(torch.tensor(facts["weight"]), weight[:, :, 0, 0])

    by_layer = A2D(granularity="layer")
    module = AttentionAlignment(model(1, 2, 2), model(3, 4, 6), by_layer)
    shapes = {k: (v["student"], v["teacher"]) for k, v in module.learned().items()}
    assert shapes == {
        "enc_self_attn": ((1, 1), (3, 1)),
        "dec_self_attn": ((2, 1), (4, 1)),
        "cross_attn": ((2, 1), (4, 1)),
    }
