"""Speed and quality of decoding, with the demo's teacher and student."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import torch
import yaml

from a2d.checkpoint import save_weights
from a2d.config import Decode, Model, Run
from a2d.corpus import read_lines
from a2d.distill import choose
from a2d.export import export
from a2d.metrics import bleu
from a2d.model import Transformer
from a2d.section import dump, load, parse
from a2d.translate import Backend, CTranslate2Backend, open_models, translate
from a2d.vocab import Vocab
from benchmarks.contest import BENCHMARKS, Row, Worker, rows_of, seconds, take_turns

TEACHER, STUDENT = "teacher/seed1", "seq_kd/seed1"
SENTENCES = 200
"""Of the test set, where not all of it is translated."""
PAPER_SENTENCES, PAPER_LENGTH = 100, 20
"""Where weights are random: nothing ends before the longest allowed translation."""
RATE = "sentences/s"
BEAM = Decode(
    beam_size=5,
    length_penalty=1.0,
    max_tokens=8000,
    max_length=64,
    backend="ctranslate2",
)
GREEDY = BEAM.model_copy(update={"beam_size": 1})


class Decoding:
    """The demo's test set and models."""

    def __init__(self, pair: Path, folder: Path) -> None:
        self.pair, self.folder = pair, folder
        src, tgt = pair.name.split("-")
        self.vocabs = tuple(Vocab(pair / f"vocab/{lang}.spm") for lang in (src, tgt))
        self.sources = list(read_lines(pair / f"corpus/test.{src}"))
        self.references = list(read_lines(pair / f"corpus/test.{tgt}"))

    def exported(self, system: str, compute_type: str = "float32") -> Backend:
        """A model in CTranslate2, one thread."""
        path = self.pair / system / "ctranslate2"
        return CTranslate2Backend(path, self.vocabs, 1, compute_type)

    def texts(self, backend: Backend, decode: Decode, number: int) -> list[str]:
        """Translations of the first sentences."""
        sources = self.sources[:number]
        return [
            best.text for best, *_ in translate(backend, self.vocabs, sources, decode)
        ]

    def rate(self, backend: Backend, decode: Decode, number: int) -> float:
        """Sentences a second."""
        return number / seconds(lambda: self.texts(backend, decode, number))

    def bleu(self, texts: Sequence[str]) -> list[float]:
        """BLEU of the first sentences."""
        return [bleu(texts, self.references[: len(texts)])]

    def reference(self) -> list[Row]:
        """The reference search against joeynmt's, with the same network."""
        torch.set_num_threads(1)
        run = load(Run, self.pair / STUDENT / "config.yaml")
        backend, _ = open_models([self.pair / STUDENT], "torch", 1)
        src_vocab, tgt_vocab = self.vocabs
        pieces, vocab = self.folder / "test.pieces", self.folder / "vocab.txt"
        sources = [
            " ".join(src_vocab.pieces[token] for token in tokens)
            for tokens in src_vocab.encode(self.sources[:SENTENCES])
        ]
        pieces.write_text("".join(f"{line}\n" for line in sources))
        vocab.write_text("".join(f"{piece}\n" for piece in tgt_vocab.pieces))
        settings = {
            "weights": str(self.pair / STUDENT / "model.safetensors"),
            "model": run.model.model_dump(),
            "vocab": str(vocab),
            "src": str(pieces),
            "beam_size": BEAM.beam_size,
            "length_penalty": BEAM.length_penalty,
            "max_length": BEAM.max_length,
            "batch_tokens": BEAM.max_tokens,
        }
        ids = {piece: number for number, piece in enumerate(tgt_vocab.pieces)}
        found: dict[str, list[str]] = {}

        def joeynmt(worker: Worker) -> float:
            answer = worker.round()
            tokens = [[ids[p] for p in pieces] for pieces in answer["translations"]]
            found["joeynmt"] = tgt_vocab.decode(tokens)
            return answer["sentences"] / answer["seconds"]

        folder = self.folder / "joeynmt"
        with Worker("translate_joeynmt.py", settings, folder, "joeynmt") as worker:
            rates = take_turns(
                {
                    "a2d": partial(self.rate, backend, BEAM, SENTENCES),
                    "joeynmt": partial(joeynmt, worker),
                }
            )
        found = {"a2d": self.texts(backend, BEAM, SENTENCES)} | found
        quality = {name: self.bleu(texts) for name, texts in found.items()}
        row = "reference search, beam 5"
        return [
            *rows_of(row, rates, RATE, {"joeynmt": ">= 3"}),
            *rows_of(f"{row}: quality", quality, "BLEU", {"joeynmt": ">= 0.98"}),
        ]

    def ctranslate2(self) -> list[Row]:
        """Our path through CTranslate2, text to text, against bare calls of it."""
        src_vocab, _ = self.vocabs
        rows = []
        for system, decode, search in (
            (TEACHER, BEAM, "beam 5"),
            (STUDENT, GREEDY, "greedy"),
        ):
            backend = self.exported(system)
            pieces = [
                [src_vocab.pieces[token] for token in tokens]
                for tokens in src_vocab.encode(self.sources)
            ]
            direct = partial(
                backend.translator.translate_batch,
                sorted(pieces, key=len, reverse=True),
                max_batch_size=decode.max_tokens // decode.beam_size,
                batch_type="tokens",
                beam_size=decode.beam_size,
                max_decoding_length=decode.max_length,
            )
            rates = take_turns(
                {
                    "a2d": partial(self.rate, backend, decode, len(pieces)),
                    "CTranslate2": partial(
                        rate_of, partial(direct, return_scores=True), len(pieces)
                    ),
                    "CTranslate2, no scores": partial(rate_of, direct, len(pieces)),
                }
            )
            name = f"CTranslate2, {system.partition('/')[0]}, {search}"
            rows += rows_of(name, rates, RATE, {"CTranslate2": ">= 0.9"})
        return rows

    def compressed(self) -> list[Row]:
        """The headline: greedy int8 student against the teacher's beam."""
        number = len(self.sources)
        contestants = {
            "student, greedy, int8": (self.exported(STUDENT, "int8"), GREEDY),
            "student, greedy, float32": (self.exported(STUDENT), GREEDY),
            "teacher, beam 5, float32": (self.exported(TEACHER), BEAM),
        }
        quality = {
            name: self.bleu(self.texts(backend, decode, number))
            for name, (backend, decode) in contestants.items()
        }
        targets = {"teacher, beam 5, float32": ">= 10"}
        return [
            *rows_of("demo", self.rates(contestants, number), RATE, targets),
            *rows_of("demo: quality", quality, "BLEU"),
        ]

    def paper_sizes(self) -> list[Row]:
        """The same with the architectures of the paper study, weights at random."""
        short = {"max_length": PAPER_LENGTH}
        beam, greedy = (d.model_copy(update=short) for d in (BEAM, GREEDY))
        run = load(Run, self.pair / TEACHER / "config.yaml")
        models = yaml.safe_load((BENCHMARKS.parent / "config.yaml").read_text())[
            "models"
        ]
        backends = {}
        for name in ("teacher", "student"):
            model = parse(Model, models[name])
            folder = self.folder / name
            folder.mkdir()
            changed = run.model_copy(update={"model": model})
            (folder / "config.yaml").write_text(dump(changed))
            torch.manual_seed(1)
            sizes = [len(vocab) for vocab in self.vocabs]
            weights = Transformer(model, *sizes).state_dict()
            save_weights(folder / "model.safetensors", weights)
            export(folder, [vocab.path for vocab in self.vocabs], folder / "exported")
            for compute_type in ("int8", "float32"):
                backends[name, compute_type] = CTranslate2Backend(
                    folder / "exported", self.vocabs, 1, compute_type
                )
        contestants = {
            "student, greedy, int8": (backends["student", "int8"], greedy),
            "student, greedy, float32": (backends["student", "float32"], greedy),
            "teacher, beam 5, float32": (backends["teacher", "float32"], beam),
        }
        rates = self.rates(contestants, PAPER_SENTENCES)
        row = f"paper's sizes, random weights, {PAPER_LENGTH} tokens a sentence"
        return rows_of(row, rates, RATE, {"teacher, beam 5, float32": ">= 10"})

    def rates(
        self, contestants: Mapping[str, tuple[Backend, Decode]], number: int
    ) -> dict[str, list[float]]:
        """Sentences a second, side by side."""
        return take_turns(
            {
                name: partial(self.rate, backend, decode, number)
                for name, (backend, decode) in contestants.items()
            }
        )

    def inter(self) -> list[Row]:
        """Cost of a sentence for Seq-Inter as the beam grows from 5 to 35."""
        backend = self.exported(TEACHER)

        def cost(beam_size: int) -> float:
            decode = BEAM.model_copy(update={"beam_size": beam_size})
            sources = self.sources[:SENTENCES]
            references = self.references[:SENTENCES]

            def select() -> None:
                found = translate(backend, self.vocabs, sources, decode, beam_size)
                for nbest, reference in zip(found, references, strict=True):
                    choose(nbest, reference, "closest")

            return 1000 * seconds(select) / SENTENCES

        found = take_turns({"K = 35": partial(cost, 35), "K = 5": partial(cost, 5)})
        return rows_of("Seq-Inter", found, "ms/sentence", {"K = 5": "<= 7"})


def rate_of(work: Callable[[], object], number: int) -> float:
    """Pieces of work a second."""
    return number / seconds(work)


def measure(pair: Path, folder: Path, peers: Sequence[str]) -> list[Row]:
    """All rows about decoding."""
    folder.mkdir(parents=True)
    decoding = Decoding(pair, folder)
    rows = [*decoding.ctranslate2(), *decoding.compressed()]
    rows += [*decoding.paper_sizes(), *decoding.inter()]
    return rows + (decoding.reference() if "joeynmt" in peers else [])
