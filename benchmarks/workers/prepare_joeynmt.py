"""Worker: joeynmt's preparation of a parallel text, from plain text to batches of ids.

A round is what joeynmt does before and around the model: `load_data` reads both files,
normalises each line (NFKC, quotes, spaces) and segments all of them to count the
vocabularies; then its iterator goes through one shuffled epoch of padded batches, which
segments each line once for its length and once more for its ids. Settings are those of
joeynmt's own SentencePiece configurations, without Moses and without sampling. joeynmt
has no other cleaning than to drop pairs of more than `max_length` pieces; training the
SentencePiece model is not part of the round.
"""

import resource
import time
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from joeynmt.config import _check_special_symbols
from joeynmt.data import load_data
from rounds import read_settings, serve


def side(language: str, spm: str) -> dict[str, Any]:
    """Configuration of one side of the text."""
    return {
        "lang": language,
        "max_length": 512,
        "normalize": True,
        "level": "bpe",
        "tokenizer_type": "sentencepiece",
        "tokenizer_cfg": {"model_file": spm},
    }


def copy_lines(source: str, target: Path, count: int) -> None:
    """Copy the first lines of a file."""
    with open(source, encoding="utf-8", newline="\n") as lines:
        target.write_text("".join(islice(lines, count)), encoding="utf-8")


def main() -> None:
    """Write the first lines to the scratch folder, then prepare them on demand."""
    settings = read_settings()
    train = Path(settings["folder"]) / "train"
    train.parent.mkdir(parents=True, exist_ok=True)
    for name in ("src", "tgt"):
        copy_lines(settings[name], train.with_suffix(f".{name}"), settings["lines"])
    config = {
        "train": str(train),
        "src": side("src", settings["spm"]),
        "trg": side("tgt", settings["spm"]),
        "special_symbols": SimpleNamespace(**_check_special_symbols({})),
    }

    def prepare() -> dict[str, Any]:
        """Load the text and go through one epoch of it."""
        start = time.perf_counter()
        _, _, data, _, _ = load_data(config, datasets=["train"])
        batches = data.make_iter(batch_size=4096, batch_type="token", shuffle=True)
        lines = sum(batch.nseqs for batch in batches)
        seconds = time.perf_counter() - start
        peak_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return {"lines": lines, "seconds": seconds, "peak_mb": peak_kb / 1024}

    serve(prepare)


if __name__ == "__main__":
    main()
