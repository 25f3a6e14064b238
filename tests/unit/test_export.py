"""CTranslate2's translations of an exported model, against the reference search."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from a2d.config import Decode, Run
from a2d.export import MAX_POSITIONS, export
from a2d.hypothesis import Hypothesis
from a2d.section import UserError
from a2d.translate import CTranslate2Backend, open_models, translate
from a2d.vocab import Vocab

LINES = [
    "eins zwei drei",
    "vier",
    "elf zwölf elf zwölf elf acht",
    "null null",
    "🦄 sieben",
    "drei drei drei drei drei drei drei",
]


def make_decode(beam_size: int, length_penalty: float = 1.0) -> Decode:
    return Decode(
        beam_size=beam_size,
        length_penalty=length_penalty,
        max_tokens=1000,
        max_length=10,
        backend="torch",
    )


@pytest.fixture(scope="session")
def make_exported(
    pair: Path,
    files: object,
    make_run: Callable[..., Run],
    make_trained: Callable[..., Path],
) -> Callable[[str, str], Path]:
    """A trained run folder with its exported model."""

    def make_exported(norm: str, tie: str) -> Path:
        name = f"exported_{norm}_{tie}"
        run = make_run(name, model={"norm": norm, "tie_embeddings": tie})
        folder = make_trained(run, pair / name / "seed1")
        vocabs = pair / "vocab/de.spm", pair / "vocab/en.spm"
        export(folder, vocabs, folder / "ctranslate2")
        return folder

    return make_exported


def assert_same(
    folder: Path, vocabs: tuple[Vocab, Vocab], decode: Decode, num_hypotheses: int = 1
) -> None:
    sources = vocabs[0].encode(LINES)
    ours, theirs = (
        open_models([folder], name, 1)[0].search(sources, decode, num_hypotheses)
        for name in ("torch", "ctranslate2")
    )
    for our_nbest, their_nbest in zip(ours, theirs, strict=True):
        assert_equal(our_nbest, their_nbest)


def assert_equal(ours: Sequence[Hypothesis], theirs: Sequence[Hypothesis]) -> None:
    assert [h.tokens for h in ours] == [h.tokens for h in theirs]
    for our, their in zip(ours, theirs, strict=True):
        assert our.log_prob == pytest.approx(their.log_prob, abs=1e-3)
        assert our.score == pytest.approx(their.score, abs=1e-3)


@pytest.mark.parametrize("tie", ["none", "decoder", "all"])
@pytest.mark.parametrize("norm", ["pre", "post"])
def test_ctranslate2_equals_the_reference(
    make_exported: Callable[[str, str], Path],
    vocabs: tuple[Vocab, Vocab],
    norm: str,
    tie: str,
) -> None:
    folder = make_exported(norm, tie)
    for beam_size in (1, 4):
        assert_same(folder, vocabs, make_decode(beam_size))


@pytest.mark.parametrize("beam_size", [1, 2, 5])
@pytest.mark.parametrize("length_penalty", [0.0, 0.6, 1.0])
def test_scores_and_n_best_lists_equal_the_reference(
    make_exported: Callable[[str, str], Path],
    vocabs: tuple[Vocab, Vocab],
    beam_size: int,
    length_penalty: float,
) -> None:
    folder = make_exported("pre", "decoder")
    decode = make_decode(beam_size, length_penalty)
    assert_same(folder, vocabs, decode, num_hypotheses=beam_size)


def test_translations_end_in_different_ways(
    make_exported: Callable[[str, str], Path], vocabs: tuple[Vocab, Vocab]
) -> None:
    """The comparisons above are of sentences that end and of sentences that are cut."""
    folder = make_exported("pre", "decoder")
    backend, _ = open_models([folder], "torch", 1)
    found = backend.search(vocabs[0].encode(LINES), make_decode(5), 5)
    lengths = {len(h.tokens) for nbest in found for h in nbest}
    assert 10 in lengths
    assert min(lengths) < 5


def test_an_exported_folder_needs_nothing_else(
    make_exported: Callable[[str, str], Path], tmp_path: Path
) -> None:
    folder = make_exported("post", "decoder")
    moved = (folder / "ctranslate2").rename(tmp_path / "moved")
    assert {p.name for p in moved.iterdir()} >= {
        "config.json",
        "model.bin",
        "source.spm",
        "target.spm",
    }
    backend, own_vocabs = open_models([moved], "torch", 1)
    assert isinstance(backend, CTranslate2Backend)
    reference, vocabs = open_models([folder], "torch", 1)
    decode = make_decode(3)
    ours, theirs = (
        translate(b, v, LINES, decode)
        for b, v in ((backend, own_vocabs), (reference, vocabs))
    )
    assert [n[0].text for n in ours] == [n[0].text for n in theirs]


def test_export_replaces_a_folder_and_leaves_no_litter(
    make_exported: Callable[[str, str], Path], pair: Path
) -> None:
    folder = make_exported("pre", "none")
    out = folder / "ctranslate2"
    (out / "stale").write_text("from before")
    before = {path.name for path in folder.iterdir()}
    export(folder, (pair / "vocab/de.spm", pair / "vocab/en.spm"), out)
    assert not (out / "stale").exists()
    assert {path.name for path in folder.iterdir()} == before


def test_long_sentences_are_translated(
    make_exported: Callable[[str, str], Path], vocabs: tuple[Vocab, Vocab]
) -> None:
    folder = make_exported("pre", "all")
    backend, _ = open_models([folder], "ctranslate2", 1)
    reference, _ = open_models([folder], "torch", 1)
    source = vocabs[0].encode(["eins zwei"])[0] * 200
    assert 256 < len(source) < MAX_POSITIONS
    ours, theirs = (
        b.search([source], make_decode(2), 1)[0] for b in (reference, backend)
    )
    assert_equal(ours, theirs)


def test_int8_computes_otherwise_and_needs_an_exported_model(
    make_exported: Callable[[str, str], Path], vocabs: tuple[Vocab, Vocab]
) -> None:
    folder = make_exported("pre", "decoder")
    sources = vocabs[0].encode(LINES)
    found = {}
    for name in ("float32", "int8"):
        backend, _ = open_models([folder], "ctranslate2", 1, name)
        assert isinstance(backend, CTranslate2Backend)
        assert backend.translator.compute_type.startswith(name)
        found[name] = [best for best, *_ in backend.search(sources, make_decode(1), 1)]
    assert found["float32"] != found["int8"]
    with pytest.raises(UserError, match="int8 needs one exported model"):
        open_models([folder, folder], "ctranslate2", 1, "int8")
