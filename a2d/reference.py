"""The reference search over trained models, in PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from a2d.config import EOS, Decode
from a2d.data import pad
from a2d.hypothesis import Hypothesis
from a2d.initialize import load_model
from a2d.model import Cache, Transformer
from a2d.search import Ensemble, beam_search


class ModelDecoder:
    """One model during search."""

    def __init__(self, model: Transformer, cache: Cache) -> None:
        self.model, self.cache = model, cache

    def step(self, tokens: torch.Tensor) -> torch.Tensor:
        """As `search.Decoder.step`."""
        return self.model.step(tokens, self.cache)

    def select(self, sentences: torch.Tensor | None, beams: torch.Tensor) -> None:
        """As `search.Decoder.select`."""
        self.cache.select(sentences, beams)


class TorchBackend:
    """The reference search, over one model or an ensemble."""

    workers = 1

    def __init__(self, models: Sequence[Transformer], device: torch.device) -> None:
        self.models, self.device = models, device

    @classmethod
    def load(cls, folders: Sequence[Path]) -> TorchBackend:
        """Read trained models from their run folders."""
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        return cls([load_model(folder).to(device) for folder in folders], device)

    @torch.inference_mode()
    def search(
        self, sources: Sequence[Sequence[int]], decode: Decode, num_hypotheses: int
    ) -> list[list[Hypothesis]]:
        """As `translate.Backend.search`."""
        src = pad(sources, end=EOS).to(self.device)
        decoders = [ModelDecoder(model, model.start(src)) for model in self.models]
        return beam_search(
            decoders[0] if len(decoders) == 1 else Ensemble(decoders),
            len(sources),
            decode.beam_size,
            decode.length_penalty,
            decode.max_length,
            num_hypotheses,
            self.device,
        )
