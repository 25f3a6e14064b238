"""Beam search: the plain reference.

It follows CTranslate2's rules, so that both give the same translations: a sentence ends
when `beam_size` hypotheses are finished (without length penalty, when the best one is),
an empty translation is not allowed, and a score is log-probability / length **
length_penalty with EOS counted in the length.

Shapes: B sentences, K beams, V vocabulary, t tokens so far.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from a2d.config import BOS, EOS
from a2d.hypothesis import Hypothesis
from a2d.section import UserError


class Decoder(Protocol):
    """A model during search: what it has read, and what it says of the next token."""

    def step(self, tokens: Tensor) -> Tensor:
        """Log-probabilities (B * K, V) of the token after `tokens` (B * K,)."""

    def select(self, sentences: Tensor | None, beams: Tensor) -> None:
        """Keep sentences (B',), or all for None, and beams (B' * K,), in this order."""


class Ensemble:
    """Decoders that vote: the mean of their probabilities."""

    def __init__(self, decoders: Sequence[Decoder]) -> None:
        self.decoders = decoders

    def step(self, tokens: Tensor) -> Tensor:
        """As `Decoder.step`."""
        votes = torch.stack([decoder.step(tokens) for decoder in self.decoders])
        return votes.logsumexp(0) - math.log(len(self.decoders))

    def select(self, sentences: Tensor | None, beams: Tensor) -> None:
        """As `Decoder.select`."""
        for decoder in self.decoders:
            decoder.select(sentences, beams)


def beam_search(
    decoder: Decoder,
    num_sentences: int,
    beam_size: int,
    length_penalty: float,
    max_length: int,
    num_hypotheses: int = 1,
    device: torch.device | str = "cpu",
) -> list[list[Hypothesis]]:
    """The best translations of each sentence, best first.

    Args:
        decoder: at the first position of all sentences.
        max_length: longest translation in tokens, EOS counted.
        num_hypotheses: wanted for each sentence, at most `beam_size`.

    Raises:
        UserError: if more hypotheses than beams are asked for.
    """
    if num_hypotheses > beam_size:
        raise UserError(f"{num_hypotheses} hypotheses need a beam of at least that")
    finished: list[list[Hypothesis]] = [[] for _ in range(num_sentences)]
    best_ended: set[int] = set()
    alive = list(range(num_sentences))
    tokens = torch.full((num_sentences, beam_size, 1), BOS, device=device)
    # all beams of a sentence start alike, so only the first may be continued
    scores = torch.full((num_sentences, beam_size), float("-inf"), device=device)
    scores[:, 0] = 0

    def done(sentence: int) -> bool:
        if length_penalty == 0:  # no longer hypothesis can overtake the best one
            found_enough = len(finished[sentence]) >= num_hypotheses
            return sentence in best_ended and found_enough
        return len(finished[sentence]) >= beam_size

    for length in range(max_length):
        log_probs = decoder.step(tokens[:, :, -1].flatten())
        log_probs = log_probs.view(len(alive), beam_size, -1)
        if length == 0:
            log_probs[:, :, EOS] = float("-inf")
            log_probs = log_probs.log_softmax(-1)
        vocab_size = log_probs.shape[-1]
        candidates = (scores.unsqueeze(-1) + log_probs).flatten(1)
        # at most beam_size candidates end, so twice as many always suffice
        top_scores, top = candidates.topk(
            min(2 * beam_size, candidates.shape[1]), dim=1
        )
        beams, words = top // vocab_size, top % vocab_size

        last = length + 1 == max_length
        ends = (words == EOS) | last
        ending = ends[:, :beam_size] & top_scores[:, :beam_size].isfinite()
        for row, column in ending.nonzero().tolist():
            beam = int(beams[row, column])
            hypothesis = tokens[row, beam, 1:].tolist()
            if int(words[row, column]) != EOS:
                hypothesis.append(int(words[row, column]))
            log_prob = float(top_scores[row, column])
            score = log_prob / (length + 1) ** length_penalty
            if column == 0:
                best_ended.add(alive[row])
            finished[alive[row]].append(Hypothesis(hypothesis, score, log_prob))
        going = [
            row for row, sentence in enumerate(alive) if not last and not done(sentence)
        ]
        if not going:
            break

        # the best candidates that do not end go on
        order = ends.long().argsort(dim=1, stable=True)[:, :beam_size]
        kept = torch.tensor(going, device=device)
        order = order[kept]
        scores = top_scores[kept].gather(1, order)
        beams, words = beams[kept].gather(1, order), words[kept].gather(1, order)
        decoder.select(
            kept if len(going) < len(alive) else None,
            (kept.unsqueeze(1) * beam_size + beams).flatten(),
        )
        tokens = torch.cat(
            [
                tokens[kept.unsqueeze(1), beams],
                words.unsqueeze(-1),
            ],
            dim=2,
        )
        alive = [alive[row] for row in going]

    return [
        sorted(found, key=lambda h: h.score, reverse=True)[:num_hypotheses]
        for found in finished
    ]
