"""Training throughput of a plain `torch.nn.Transformer` loop, on a2d's batches."""

from pathlib import Path

import torch
import torch.nn.functional as F
from rounds import Rounds, read_settings
from torch import nn

from a2d.config import PAD
from a2d.data import ParallelData
from a2d.vocab import Vocab
from benchmarks.plain import Plain


def main() -> None:
    """Train for as long as the parent asks for rounds."""
    settings = read_settings()
    torch.set_num_threads(1)
    vocab = Vocab(settings["spm"])
    data = ParallelData.open([Path(settings["tokens"])], (vocab, vocab))
    model = Plain(settings, len(vocab))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-4, betas=(0.9, 0.98))
    rounds, epoch = Rounds(settings["updates"]), 0
    while True:
        epoch += 1
        for (indices,) in data.epoch(1, epoch, settings["max_tokens"], 1):
            batch = data.batch(indices)
            logits = model(batch.src, batch.tgt_input)
            loss = F.cross_entropy(
                logits.flatten(0, 1),
                batch.tgt.flatten(),
                ignore_index=PAD,
                label_smoothing=settings["label_smoothing"],
            )
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            rounds.update_done(batch.tgt_tokens)


if __name__ == "__main__":
    main()
