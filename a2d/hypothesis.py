"""What a search finds, whatever the backend."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Hypothesis:
    """A translation: its tokens without EOS and its length-normalised score."""

    tokens: list[int]
    score: float
    log_prob: float
