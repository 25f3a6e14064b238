"""First weights, and models from run folders."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from a2d.checkpoint import load_weights
from a2d.config import Run, UserError
from a2d.initialize import load_model, new_model
from a2d.vocab import Vocab


def test_trained_model_is_loaded_for_use(teacher: Path) -> None:
    model = load_model(teacher)
    stored = load_weights(teacher / "model.safetensors")
    assert all(torch.equal(t, stored[n]) for n, t in model.state_dict().items())
    assert not model.training
    assert not any(p.requires_grad for p in model.parameters())
    assert model.tgt_embedding.weight is model.projection.weight
    assert (model.config.num_decoder_layers, model.config.num_heads) == (3, 4)


def test_folder_without_model_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"config\.yaml: there is no such file"):
        load_model(tmp_path)


def test_first_weights_depend_on_the_seed_alone(
    make_run: Callable[..., Run], vocabs: tuple[Vocab, Vocab]
) -> None:
    run = make_run()
    models = []
    for seed in (1, 1, 2):
        torch.rand(5)
        seeded = run.model_copy(update={"seed": seed})
        models.append(new_model(seeded, *vocabs, None).state_dict())
    same, again, other = models
    assert all(torch.equal(same[name], again[name]) for name in same)
    assert not torch.equal(same["projection.weight"], other["projection.weight"])
    assert len(same["src_embedding.weight"]) == 320


def test_training_goes_on_from_a_run_folder(
    teacher: Path, make_run: Callable[..., Run], vocabs: tuple[Vocab, Vocab]
) -> None:
    shape = {"num_encoder_layers": 1, "num_decoder_layers": 3, "num_heads": 4}
    model = new_model(make_run(model=shape), *vocabs, teacher)
    trained = load_model(teacher).state_dict()
    assert all(torch.equal(t, trained[n]) for n, t in model.state_dict().items())
    assert all(p.requires_grad for p in model.parameters())


def test_special_tokens_start_at_zero_and_widths_as_expected(
    make_run: Callable[..., Run], vocabs: tuple[Vocab, Vocab]
) -> None:
    model = new_model(make_run(model={"d_model": 64}), *vocabs, None)
    for embedding in (model.src_embedding, model.tgt_embedding):
        assert (embedding.weight[0] == 0).all()
        assert embedding.weight[1:].std().item() == pytest.approx(1 / 8, rel=0.05)
