"""First weights, and models from run folders."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from a2d.checkpoint import load_weights
from a2d.config import Decode, Run
from a2d.initialize import chosen_layers, load_model, new_model
from a2d.model import Transformer
from a2d.reference import TorchBackend
from a2d.section import UserError
from a2d.translate import translate
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


# Copies -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("num_source", "num_layers", "even", "first", "last"),
    [
        (6, 3, [0, 2, 5], [0, 1, 2], [3, 4, 5]),  # 2.5 is rounded to 2
        (12, 4, [0, 4, 7, 11], [0, 1, 2, 3], [8, 9, 10, 11]),
        (3, 2, [0, 2], [0, 1], [1, 2]),
        (6, 5, [0, 1, 2, 4, 5], [0, 1, 2, 3, 4], [1, 2, 3, 4, 5]),
        (4, 4, [0, 1, 2, 3], [0, 1, 2, 3], [0, 1, 2, 3]),
        (6, 1, [5], [0], [5]),
        (1, 1, [0], [0], [0]),
    ],
)
def test_choice_of_layers(
    num_source: int, num_layers: int, even: Any, first: Any, last: Any
) -> None:
    found = [
        chosen_layers(num_source, num_layers, how) for how in ("even", "first", "last")
    ]
    assert found == [even, first, last]


def test_evenly_spaced_layers_never_repeat() -> None:
    for num_source in range(1, 25):
        for num_layers in range(1, num_source + 1):
            chosen = chosen_layers(num_source, num_layers, "even")
            assert chosen == sorted(set(chosen))
            assert len(chosen) == num_layers


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_copy_of_equal_shape_translates_as_its_teacher(
    norm: str,
    make_run: Callable[..., Run],
    make_trained: Callable[..., Path],
    vocabs: tuple[Vocab, Vocab],
    tmp_path: Path,
) -> None:
    """The reference search, before any training."""
    shape = {"num_decoder_layers": 3, "norm": norm}
    teacher = make_trained(make_run("teacher", model=shape), tmp_path / "teacher")
    sources = ["eins zwei drei", "vier fünf", "sechs sieben acht neun"]
    decode = Decode(
        beam_size=3, length_penalty=1, max_tokens=900, max_length=9, backend="torch"
    )

    def translations(model: Transformer) -> list[tuple[str, float]]:
        backend = TorchBackend([model.eval()], torch.device("cpu"))
        found = translate(backend, vocabs, sources, decode, 3)
        return [(best.text, best.score) for nbest in found for best in nbest]

    expected = translations(load_model(teacher))
    assert len({text for text, _ in expected}) > 3
    for layers in ("even", "first", "last"):
        run = make_run(model=shape, init={"copy": "teacher", "layers": layers})
        student = new_model(run, *vocabs, teacher)
        assert translations(student) == expected
        assert all(p.requires_grad for p in student.parameters())


@pytest.mark.parametrize(
    ("layers", "encoder", "decoder"),
    [
        ("even", [0, 3], [0, 2, 5]),
        ("first", [0, 1], [0, 1, 2]),
        ("last", [2, 3], [3, 4, 5]),
    ],
)
def test_each_stack_has_its_own_choice_of_layers(
    layers: str,
    encoder: list[int],
    decoder: list[int],
    make_run: Callable[..., Run],
    make_trained: Callable[..., Path],
    vocabs: tuple[Vocab, Vocab],
    tmp_path: Path,
) -> None:
    """Of four encoder and six decoder layers two and three."""
    deep, shallow = (
        {"num_encoder_layers": e, "num_decoder_layers": d} for e, d in ((4, 6), (2, 3))
    )
    folder = make_trained(make_run("teacher", model=deep), tmp_path / "teacher")
    run = make_run(model=shallow, init={"copy": "teacher", "layers": layers})
    source, model = load_model(folder), new_model(run, *vocabs, folder)
    for stack, chosen in (("encoder", encoder), ("decoder", decoder)):
        for number, layer in zip(chosen, getattr(model, stack), strict=True):
            theirs = getattr(source, stack)[number].state_dict()
            ours = layer.state_dict()
            assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize("tying", ["none", "decoder"])
def test_copy_takes_the_chosen_layers_and_all_around_them(
    tying: str,
    teacher: Path,
    make_run: Callable[..., Run],
    vocabs: tuple[Vocab, Vocab],
) -> None:
    """Of one encoder and three decoder layers one and two."""
    shape = {"num_encoder_layers": 1, "num_decoder_layers": 2, "num_heads": 4}
    run = make_run(model=shape | {"tie_embeddings": tying}, init={"copy": "teacher"})
    copied = new_model(run, *vocabs, teacher).state_dict()
    theirs = load_model(teacher).state_dict()
    for name, weight in copied.items():
        source = name.replace("decoder.1.", "decoder.2.")
        assert torch.equal(weight, theirs[source]), name
    names = {name.replace("decoder.1.", "decoder.2.") for name in copied}
    left_out = {name for name in theirs if name.startswith("decoder.1.")}
    assert names == set(theirs) - left_out


def test_truncation_keeps_the_first_heads_and_of_each_the_first_dimensions(
    make_run: Callable[..., Run], make_trained: Callable[..., Path], tmp_path: Path,
    vocabs: tuple[Vocab, Vocab],
) -> None:  # fmt: skip
    """From four heads of four dimensions two of three, from 32 units 10."""
    wide = {"d_model": 16, "num_heads": 4, "d_ff": 32, "num_encoder_layers": 1}
    narrow = {"d_model": 6, "num_heads": 2, "d_ff": 10, "num_encoder_layers": 1}
    teacher = make_trained(make_run("teacher", model=wide), tmp_path / "teacher")
    init = {"copy": "teacher", "reduce": "truncate"}
    small = new_model(make_run(model=narrow, init=init), *vocabs, teacher).state_dict()
    large = load_model(teacher).state_dict()
    kept = [0, 1, 2, 4, 5, 6]  # rows of the first two heads
    values = [16 + row for row in kept]  # stand behind the keys
    expected = {
        "tgt_embedding.weight": large["tgt_embedding.weight"][:, :6],
        "projection.weight": large["projection.weight"][:, :6],
        "decoder_norm.weight": large["decoder_norm.weight"][:6],
    }
    for name in ("encoder.0.self_attn", "decoder.0.self_attn", "decoder.0.cross_attn"):
        key_value = large[f"{name}.key_value.weight"]
        expected |= {
            f"{name}.query.weight": large[f"{name}.query.weight"][kept][:, :6],
            f"{name}.query.bias": large[f"{name}.query.bias"][kept],
            f"{name}.key_value.weight": key_value[kept + values][:, :6],
            f"{name}.key_value.bias": large[f"{name}.key_value.bias"][kept + values],
            f"{name}.output.weight": large[f"{name}.output.weight"][:6][:, kept],
            f"{name}.output.bias": large[f"{name}.output.bias"][:6],
        }
    for name in ("encoder.0", "decoder.0"):
        part = f"{name}.feed_forward"
        expected |= {
            f"{part}.0.weight": large[f"{part}.0.weight"][:10, :6],
            f"{part}.0.bias": large[f"{part}.0.bias"][:10],
            f"{part}.2.weight": large[f"{part}.2.weight"][:6, :10],
            f"{part}.2.bias": large[f"{part}.2.bias"][:6],
            f"{name}.norms.1.bias": large[f"{name}.norms.1.bias"][:6],
        }
    for name, weight in expected.items():
        assert torch.equal(small[name], weight), name
