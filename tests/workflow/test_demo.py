"""The demo's student on real text: CTranslate2 against the reference search."""

from pathlib import Path

import pytest
import torch
import yaml
from project import ROOT, Project

from a2d.config import Decode
from a2d.corpus import read_lines
from a2d.metrics import bleu
from a2d.translate import open_models, translate

RUN = "libreoffice/de-en/student/seed1"


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results with the demo's student: the finished demo's, or one trained a minute."""
    if (ROOT / "results" / RUN / "ctranslate2").is_dir():
        return ROOT / "results"
    project = Project(tmp_path_factory.mktemp("demo"))
    values = yaml.safe_load((ROOT / "config.yaml").read_text())
    values["datasets"]["libreoffice"]["override"]["train"]["max_steps"] = 250
    project.config.write_text(yaml.safe_dump(values))
    project.run(
        f"results/{RUN}/ctranslate2", "results/libreoffice/de-en/corpus/test.de"
    )
    return project.folder / "results"


@pytest.mark.parametrize("beam_size", [1, 5])
def test_both_backends_give_the_same_translations(results: Path, beam_size: int):
    torch.set_num_threads(1)
    folder = results / "libreoffice/de-en/corpus"
    sources = list(read_lines(folder / "test.de"))[:150]
    references = list(read_lines(folder / "test.en"))[:150]
    found = []
    for backend in ("torch", "ctranslate2"):
        decode = Decode(
            beam_size=beam_size,
            length_penalty=1.0,
            max_tokens=2000,
            max_length=40,
            backend=backend,
        )
        search, vocabs = open_models([results / RUN], backend, threads=1)
        found.append([best for best, *_ in translate(search, vocabs, sources, decode)])
    texts = [[translation.text for translation in side] for side in found]
    same = [a.text == b.text for a, b in zip(*found, strict=True)]
    # sums in another order may tip the balance between two equally good hypotheses
    assert sum(same) >= 0.98 * len(same)
    for a, b, equal in zip(*found, same, strict=True):
        if equal:
            assert a.log_prob == pytest.approx(b.log_prob, rel=1e-3)
    scores = [bleu(side, references) for side in texts]
    assert scores[0] == pytest.approx(scores[1], abs=0.2)
