"""The composed loss, against a sum over single sentences by PyTorch's own functions."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from a2d.config import ATTENTIONS, BOS, EOS, Losses, Model
from a2d.data import Batch, pad
from a2d.model import Transformer
from a2d.objective import Objective, ensemble_logits
from a2d.section import parse

SIZE = 12
SENTENCES = [
    ([4, 5, 6, 7], [8, 9]),
    ([10], [11, 4, 5, 6, 7]),
    ([5, 5], [6]),
    ([9, 8, 7], [4, 10, 11]),
]
SMOOTHING = 0.1


def make_batch(sentences: Sequence[tuple[list[int], list[int]]]) -> Batch:
    return Batch(
        pad([src for src, _ in sentences], end=EOS),
        pad([tgt for _, tgt in sentences], start=BOS),
        pad([tgt for _, tgt in sentences], end=EOS),
        torch.ones(len(sentences)),
        torch.zeros(len(sentences)),
    )


BATCH = make_batch(SENTENCES)


def transformer(seed: int, **changes: Any) -> Transformer:
    values = {
        "num_encoder_layers": 1,
        "num_decoder_layers": 2,
        "d_model": 8,
        "d_ff": 12,
        "num_heads": 2,
        "dropout": 0,
        "norm": "pre",
        "tie_embeddings": "decoder",
    }
    torch.manual_seed(seed)
    model = Transformer(Model.model_validate(values | changes), SIZE, SIZE)
    for parameter in model.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    return model.double()


def make_objective(losses: Losses, num_teachers: int = 1) -> Objective:
    shape = {"num_encoder_layers": 2, "num_decoder_layers": 3, "num_heads": 4}
    teachers = [transformer(seed, **shape) for seed in range(2, 2 + num_teachers)]
    for teacher in teachers:
        teacher.requires_grad_(False)
    student = transformer(1)
    torch.manual_seed(9)
    return Objective(student, teachers, losses, SMOOTHING).double()


def forward(objective: Objective, batch: Batch, epoch: int = 1) -> dict[str, Tensor]:
    return objective(batch, batch.src_tokens, batch.tgt_tokens, epoch)


def gradients(objective: Objective) -> dict[str, Tensor]:
    return {
        name: torch.zeros_like(p) if p.grad is None else p.grad.clone()
        for name, p in objective.named_parameters()
    }


def by_hand(
    objective: Objective, teachers: Sequence[Transformer], epoch: int
) -> Tensor:
    """(1 - a) CE + a KD + b g^(epoch - 1) (A_enc + (A_dec + A_cross) / 2)."""
    a, b, g = 0.3, 0.7, 0.9
    ce, kd, attention = (torch.zeros((), dtype=torch.float64) for _ in range(3))
    student = objective.student
    src_rows = sum(len(src) + 1 for src, _ in SENTENCES)
    tgt_rows = sum(len(tgt) + 1 for _, tgt in SENTENCES)
    shares = {
        "enc_self_attn": 1 / src_rows,
        "dec_self_attn": 0.5 / tgt_rows,
        "cross_attn": 0.5 / tgt_rows,
    }
    for sentence in SENTENCES:
        one = make_batch([sentence])
        out = student(one.src, one.tgt_input, return_maps=True)
        logits = out.hidden[0] @ student.projection.weight.T
        ce = ce + F.cross_entropy(
            logits, one.tgt[0], reduction="sum", label_smoothing=SMOOTHING
        )
        probs = []
        for teacher in teachers:
            hidden = teacher(one.src, one.tgt_input).hidden[0]
            probs.append((hidden @ teacher.projection.weight.T).softmax(-1))
        mean = torch.stack(probs).mean(0)
        kd = kd + F.cross_entropy(logits, mean, reduction="sum")
        if objective.alignment is None:
            continue
        maps = teachers[0](one.src, one.tgt_input, return_maps=True).maps
        for kind in ATTENTIONS:
            convolution = objective.alignment.convolutions[kind]
            scores = convolution(torch.cat(out.maps[kind], 1))[0]
            targets = torch.cat(maps[kind], 1)[0]
            for scores_of_map, map_ in zip(scores, targets, strict=True):
                for position, (row, target) in enumerate(
                    zip(scores_of_map, map_, strict=True)
                ):
                    end = position + 1 if kind == "dec_self_attn" else len(row)
                    kl = F.kl_div(
                        row[:end].log_softmax(-1), target[:end], reduction="sum"
                    )
                    attention = attention + shares[kind] * kl / len(scores)
    loss = ((1 - a) * ce + a * kd) / tgt_rows
    return loss + b * g ** (epoch - 1) * attention


@pytest.mark.parametrize("epoch", [1, 4])
def test_loss_is_the_formula(both_losses: Losses, epoch: int) -> None:
    objective = make_objective(both_losses)
    loss = forward(objective, BATCH, epoch)["loss"]
    loss.backward()
    found = gradients(objective)
    objective.zero_grad()
    expected = by_hand(objective, objective._teachers, epoch)
    expected.backward()
    torch.testing.assert_close(loss, expected, rtol=1e-10, atol=0)
    for name, gradient in gradients(objective).items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-8, atol=1e-10)


def softmax(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    exponentials = np.exp(scores - scores.max())
    return exponentials / exponentials.sum()


def attention_by_hand(objective: Objective) -> float:
    """The attention loss of all sentences, one after the other, in numpy."""
    settings = objective.a2d
    assert settings is not None
    assert objective.alignment is not None
    t, total = settings.temperature, 0.0
    for sentence in SENTENCES:
        one = make_batch([sentence])
        for kind in settings.kinds:
            sides = []
            for model in (objective.student, objective._teachers[0]):
                layers = model(one.src, one.tgt_input, return_maps=True).maps[kind]
                maps = [layer[0].detach().numpy() for layer in layers]
                if settings.granularity == "layer":
                    maps = [layer.mean(0, keepdims=True) for layer in maps]
                sides.append(np.concatenate(maps))
            convolution = objective.alignment.convolutions[kind]
            weight, bias = (p.detach().numpy() for p in convolution.parameters())
            scores = np.einsum("ts,sqk->tqk", weight[:, :, 0, 0], sides[0])
            scores += bias[:, None, None]
            loss = 0.0
            for row, target in zip(scores, sides[1], strict=True):
                if settings.mode == "released":
                    p, q = softmax(target.ravel() / t), softmax(row.ravel() / t)
                    loss += t**2 * float((p * np.log(p / q)).sum())
                    continue
                for query in range(len(row)):
                    end = query + 1 if kind == "dec_self_attn" else row.shape[1]
                    p = target[query, :end] ** (1 / t)
                    p, q = p / p.sum(), softmax(row[query, :end] / t)
                    loss += t**2 * float((p * np.log(p / q)).sum()) / len(scores)
            if settings.mode == "rowwise":
                source = kind == "enc_self_attn"
                loss /= BATCH.src_tokens if source else BATCH.tgt_tokens
            total += getattr(settings, kind) * loss
    return total


@pytest.mark.parametrize("mode", ["rowwise", "released"])
@pytest.mark.parametrize("granularity", ["head", "layer"])
@pytest.mark.parametrize("temperature", [1.0, 2.0, 0.5])
@pytest.mark.parametrize("weights", [(1, 0.5, 0.5), (0, 2, 0.3)])
def test_attention_loss_against_numpy(
    mode: str, granularity: str, temperature: float, weights: tuple[float, ...]
) -> None:
    settings = {"mode": mode, "granularity": granularity, "temperature": temperature}
    settings |= dict(zip(ATTENTIONS, weights, strict=True))
    objective = make_objective(parse(Losses, {"a2d": settings}))
    found = float(forward(objective, BATCH)["a2d"].detach())
    assert found == pytest.approx(attention_by_hand(objective), rel=1e-10)


def test_ensemble_of_teachers_is_the_mean_of_probabilities() -> None:
    objective = make_objective(parse(Losses, {"word_kd": 0.3}), num_teachers=3)
    loss = forward(objective, BATCH)["loss"]
    expected = by_hand(objective, objective._teachers, epoch=1)
    torch.testing.assert_close(loss.double(), expected, rtol=1e-6, atol=0)


def test_ensemble_is_a_distribution() -> None:
    models = [transformer(seed) for seed in (1, 2)]
    outputs = [model(BATCH.src, BATCH.tgt_input) for model in models]
    real = BATCH.tgt != 0
    found = ensemble_logits(models, outputs, real).exp()
    assert found.shape == (BATCH.tgt_tokens, SIZE)
    torch.testing.assert_close(found.sum(-1), torch.ones(len(found)).to(found.dtype))
    singles = [
        ensemble_logits([m], [o], real).softmax(-1)
        for m, o in zip(models, outputs, strict=True)
    ]
    torch.testing.assert_close(found, (singles[0] + singles[1]) / 2)


def test_teachers_vote_in_the_directions_that_they_know() -> None:
    losses = parse(Losses, {"word_kd": 0.3})
    objective = make_objective(losses, num_teachers=3)
    first, second, third = objective._teachers
    batch = make_batch(SENTENCES)
    batch.directions = torch.tensor([1, 0, 1, 0])
    voting = Objective(
        objective.student, [first, second, third], losses, SMOOTHING, [[0], [1, 2]]
    )
    expected = torch.zeros((), dtype=torch.float64)
    for rows, teachers in (([1, 3], [first]), ([0, 2], [second, third])):
        alone = Objective(objective.student, teachers, losses, SMOOTHING)
        part = make_batch([SENTENCES[i] for i in rows])
        tokens = (batch.src_tokens, batch.tgt_tokens)
        expected = expected + alone(part, *tokens, 1)["loss"]
    torch.testing.assert_close(forward(voting, batch)["loss"], expected)
    # where all know all directions, it is an ensemble
    whole = Objective(
        objective.student, objective._teachers, losses, SMOOTHING, [[0, 1, 2]] * 2
    )
    torch.testing.assert_close(
        forward(whole, batch)["loss"], forward(objective, batch)["loss"]
    )


def test_parts_are_reported_as_they_apply(both_losses: Losses) -> None:
    plain = forward(make_objective(Losses(), 0), BATCH)
    assert set(plain) == {"loss", "nll"}
    parts = forward(make_objective(both_losses), BATCH)
    assert set(parts) == {"loss", "nll", "word_kd", "a2d"}
    torch.testing.assert_close(plain["nll"], parts["nll"])
    # nll and word_kd are reported as they are, without label smoothing and weights
    student = make_objective(Losses(), 0).student
    logits = student.projection(student(BATCH.src, BATCH.tgt_input).hidden)
    nll = F.cross_entropy(logits.transpose(1, 2), BATCH.tgt, ignore_index=0)
    torch.testing.assert_close(parts["nll"].double(), nll)


def test_decay_counts_epochs_from_one(both_losses: Losses) -> None:
    objective = make_objective(both_losses)
    a2d = float(forward(objective, BATCH)["a2d"].detach())
    first, second, third = (
        float(forward(objective, BATCH, epoch)["loss"].detach()) for epoch in (1, 2, 3)
    )
    assert first - second == pytest.approx(0.7 * (1 - 0.9) * a2d, rel=1e-3)
    assert second - third == pytest.approx(0.7 * (0.9 - 0.81) * a2d, rel=1e-3)


def test_micro_batches_add_up(both_losses: Losses) -> None:
    whole, parts = make_objective(both_losses), make_objective(both_losses)
    loss = forward(whole, BATCH, epoch=2)["loss"]
    loss.backward()
    total = torch.zeros_like(loss)
    for sentences in (SENTENCES[:1], SENTENCES[1:]):
        batch = make_batch(sentences)
        share = parts(batch, BATCH.src_tokens, BATCH.tgt_tokens, 2)["loss"]
        share.backward()
        total = total + share
    torch.testing.assert_close(total, loss)
    expected = gradients(whole)
    for name, gradient in gradients(parts).items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-4, atol=1e-7)


RECIPES: list[dict[str, Any]] = [
    {"word_kd": 0.3, "a2d": {"attn_weight": 0.7}},
    {"a2d": {"mode": "released", "attn_weight": 0.1, "temperature": 2}},
    {"a2d": {"mode": "released", "mix_teacher": True, "granularity": "layer"}},
    {"word_kd": {"kd_weight": 0.3, "divergence": "reverse_kl", "temperature": 2}},
    {"word_kd": {"kd_weight": 0.3, "divergence": "mse"}},
]


@pytest.mark.parametrize("recipe", RECIPES, ids=str)
def test_padding_changes_nothing(recipe: dict[str, Any]) -> None:
    objective = make_objective(parse(Losses, recipe)).float()
    objective._teachers[0].float()
    padded = [F.pad(t, (0, 3)) for t in (BATCH.src, BATCH.tgt_input, BATCH.tgt)]
    wider = Batch(*padded, BATCH.weights, BATCH.directions)
    assert (wider.src_tokens, wider.tgt_tokens) == (14, 15)
    for name, part in forward(objective, BATCH).items():
        torch.testing.assert_close(
            part, forward(objective, wider)[name], rtol=1e-6, atol=1e-6
        )


@pytest.mark.parametrize("recipe", RECIPES, ids=str)
def test_sentences_alone_add_up_to_the_padded_batch(recipe: dict[str, Any]) -> None:
    """Of a mean and of a sum alike, as long as all know the size of the update."""
    objective = make_objective(parse(Losses, recipe))
    alone = [
        objective(make_batch([s]), BATCH.src_tokens, BATCH.tgt_tokens, 1)
        for s in SENTENCES
    ]
    for name, part in forward(objective, BATCH).items():
        total = sum(parts[name] for parts in alone)
        torch.testing.assert_close(part, total, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("mode", "growth"), [("rowwise", 1), ("released", 3)])
def test_only_the_released_loss_grows_with_the_batch(mode: str, growth: int) -> None:
    objective = make_objective(parse(Losses, {"a2d": {"mode": mode}}))
    once, thrice = (
        forward(objective, make_batch(SENTENCES * n))["a2d"] for n in (1, 3)
    )
    torch.testing.assert_close(thrice, growth * once, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("recipe", RECIPES[:4], ids=str)
def test_weight_of_a_sentence_is_how_often_it_counts(recipe: dict[str, Any]) -> None:
    objective = make_objective(parse(Losses, recipe))
    repeated = make_batch([*SENTENCES[:2], SENTENCES[1]])
    weighted = make_batch(SENTENCES[:2])
    weighted.weights = torch.tensor([1.0, 2.0])
    assert weighted.tgt_weight == repeated.tgt_weight == repeated.tgt_tokens
    found = objective(weighted, weighted.src_weight, weighted.tgt_weight, 1)
    for name, part in forward(objective, repeated).items():
        torch.testing.assert_close(found[name], part, rtol=1e-6, atol=1e-6)


def test_alignment_without_weight_is_no_alignment() -> None:
    with_a2d = make_objective(
        parse(Losses, {"word_kd": 0.3, "a2d": {"attn_weight": 0}})
    )
    without = make_objective(parse(Losses, {"word_kd": 0.3}))
    for objective in (with_a2d, without):
        forward(objective, BATCH)["loss"].backward()
    found, expected = gradients(with_a2d), gradients(without)
    assert set(found) == set(expected)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_kinds_without_weight_are_left_out() -> None:
    values = {"enc_self_attn": 0, "dec_self_attn": 0, "cross_attn": 2}
    objective = make_objective(parse(Losses, {"a2d": values}))
    halved = make_objective(parse(Losses, {"a2d": values | {"cross_attn": 1}}))
    assert objective.alignment is not None
    assert list(objective.alignment.convolutions) == ["cross_attn"]
    torch.testing.assert_close(
        forward(objective, BATCH)["a2d"], 2 * forward(halved, BATCH)["a2d"]
    )


def test_teachers_are_no_part_of_what_is_trained(both_losses: Losses) -> None:
    objective = make_objective(both_losses)
    student_names = {f"student.{name}" for name in objective.student.state_dict()}
    kinds = {
        f"alignment.convolutions.{kind}.{part}"
        for kind in ATTENTIONS
        for part in ("weight", "bias")
    }
    assert set(objective.state_dict()) == student_names | kinds
    (teacher,) = objective._teachers
    ours = {id(parameter) for parameter in objective.parameters()}
    assert not any(id(parameter) in ours for parameter in teacher.parameters())
    teacher.requires_grad_(True)
    forward(objective, BATCH)["loss"].backward()
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert all((g != 0).any() for g in gradients(objective).values())


def test_teachers_stay_in_evaluation_mode(both_losses: Losses) -> None:
    objective = make_objective(both_losses)
    objective.train()
    assert objective.student.training
    assert not any(teacher.training for teacher in objective._teachers)
