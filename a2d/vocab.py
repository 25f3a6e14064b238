"""SentencePiece vocabularies (Kudo and Richardson, 2018) with byte fallback."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import sentencepiece

from a2d.config import BOS, EOS, PAD, UNK
from a2d.files import replacing
from a2d.section import UserError

MAX_TRAINING_SENTENCES = 1_000_000
"""Sampled from larger texts: more change the vocabulary little, but need memory."""


def train_vocab(
    files: Sequence[str | Path],
    out: str | Path,
    size: int,
    kind: str,
    tags: Sequence[str] = (),
) -> None:
    """Train one SentencePiece model on text files and write it to `out`.

    Args:
        tags: texts that are pieces of their own, whatever stands around them.

    Raises:
        UserError: if the text is too small for a vocabulary of this size.
    """
    lines = (
        line.rstrip("\n")
        for file in files
        for line in open(file, encoding="utf-8", newline="\n")  # noqa: SIM115
    )
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=lines,
            model_writer=model,
            model_type=kind,
            vocab_size=size,
            character_coverage=0.9999,
            byte_fallback=True,
            normalization_rule_name="identity",  # the text is NFC already
            input_sentence_size=MAX_TRAINING_SENTENCES,
            shuffle_input_sentence=True,
            num_threads=1,  # the same text gives the same vocabulary
            pad_id=PAD,
            unk_id=UNK,
            bos_id=BOS,
            eos_id=EOS,
            user_defined_symbols=list(tags),
            minloglevel=2,
        )
    except RuntimeError as error:
        raise UserError(
            f"vocab.size {size} does not fit the text of {files[0]}: {error}"
        ) from None
    with replacing(out) as temporary:
        temporary.write_bytes(model.getvalue())


class Vocab:
    """Text to token ids and back."""

    def __init__(self, path: str | Path) -> None:
        if not Path(path).is_file():
            raise UserError(f"{path}: there is no such vocabulary")
        self.path = Path(path)
        self._processor = sentencepiece.SentencePieceProcessor(model_file=str(path))

    def __len__(self) -> int:
        return self._processor.get_piece_size()

    def encode(self, lines: Sequence[str], threads: int = 1) -> list[list[int]]:
        """Token ids of each line, without BOS and EOS."""
        return self._processor.encode(list(lines), num_threads=threads)

    def decode(self, tokens: Sequence[Sequence[int]]) -> list[str]:
        """Lines of token ids; special tokens leave no trace."""
        return self._processor.decode([list(s) for s in tokens], num_threads=1)

    @property
    def pieces(self) -> list[str]:
        """All pieces, by id."""
        return [self._processor.id_to_piece(i) for i in range(len(self))]
