"""The study as data: the shape and the invariants of `config.yaml`.

Values live in `config.yaml`; this module holds types, checks and their explanations.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from a2d.section import ONE_OR_MORE, Section
from a2d.sources import AnySource, HoldOut, Sources

NUMERICS = 3
"""Raise when a change of code changes what a training computes: trained models are
then trained again, and half-finished trainings start afresh."""

ATTENTIONS = ("enc_self_attn", "dec_self_attn", "cross_attn")
"""The three kinds of attention of an encoder-decoder Transformer."""

PAD, UNK, BOS, EOS = 0, 1, 2, 3
"""Ids of the special tokens in every vocabulary."""

NAME = r"^[A-Za-z][A-Za-z0-9_]*$"
TEACHER = r"^[A-Za-z][A-Za-z0-9_]*(-seed[1-9][0-9]*)?$"
LANGUAGE = r"[a-z]{2,3}(_[A-Za-z]+)?"
PAIR = rf"^{LANGUAGE}-{LANGUAGE}$"
MORE = rf"(\+{LANGUAGE})"
MULTILINGUAL = rf"^({LANGUAGE}{MORE}+-{LANGUAGE}{MORE}*|{LANGUAGE}-{LANGUAGE}{MORE}+)$"
Name = Annotated[str, Field(pattern=NAME)]


def _unlike(values: list[Any]) -> list[Any]:
    for value in values:
        if values.count(value) > 1:
            raise ValueError(f"{value} stands there twice")
    if not values:
        raise ValueError("the list is empty")
    return values


SEVERAL = AfterValidator(_unlike)
"""A list of one or more values, all different."""
Fraction = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[int, Field(gt=0)]


# Text -------------------------------------------------------------------------------


class Pair(Section):
    """Where the text of one language pair comes from."""

    train: Sources
    valid: Sources
    test: Sources
    more_tests: dict[Name, Sources] = {}
    """Further test sets, scored like `test`."""
    override: dict[str, Any] = {}
    """Values that replace those of the sections below for this pair alone."""

    @property
    def testsets(self) -> dict[str, list[AnySource]]:
        """Sources of each test set."""
        return {"test": self.test, **self.more_tests}

    @property
    def splits(self) -> dict[str, list[AnySource]]:
        """Sources of the training text, the validation set and each test set."""
        return {"train": self.train, "valid": self.valid, **self.testsets}

    @property
    def hold_out(self) -> dict[str, float]:
        """Shares of the training source's documents that make up other splits."""
        return {
            split: sources[0].hold_out
            for split, sources in self.splits.items()
            if isinstance(sources[0], HoldOut)
        }

    @model_validator(mode="after")
    def _splits_have_sources(self) -> Pair:
        for split, sources in self.splits.items():
            held_out = [isinstance(source, HoldOut) for source in sources]
            if any(held_out) and (split == "train" or len(sources) > 1):
                raise ValueError(
                    f"{split}: hold_out stands alone, for valid and test sets only"
                )
        if {"train", "valid", "test"} & set(self.more_tests):
            raise ValueError("more_tests may not be called train, valid or test")
        return self


class Multilingual(Section):
    """One model for several directions; the text is that of the dataset's pairs.

    The name tells the directions: `de+fr-en` has those of the pairs `de-en` and
    `fr-en`. The source text of each starts with a tag for the target language, `<2en>`.
    """

    override: dict[str, Any] = {}
    """Values that replace those of the sections below for this row alone."""


class Dataset(Section):
    """A collection of language pairs from one kind of source."""

    pairs: dict[Annotated[str, Field(pattern=PAIR)], Pair]
    multilingual: dict[
        Annotated[str, Field(pattern=MULTILINGUAL)],
        Annotated[Multilingual, BeforeValidator(lambda v: {} if v is None else v)],
    ] = {}
    """Rows over several of the pairs, used like pairs."""
    override: dict[str, Any] = {}
    """Values that replace those of the sections below for this dataset."""


# Stages ---------------------------------------------------------------------------


class Clean(Section):
    """Filters of training text; published test sets are normalised, never filtered."""

    min_words: Annotated[int, Field(ge=1)]
    max_words: Positive
    max_ratio: Annotated[float, Field(ge=1)]
    """Of the longer side to the shorter, in characters."""
    deduplicate: bool
    decontaminate: bool
    """Drop training pairs of which either side stands in a validation or test set."""


class Vocab(Section):
    """SentencePiece segmentation."""

    size: Positive
    joint: bool
    """One vocabulary for both languages."""
    kind: Literal["bpe", "unigram"]


class Model(Section):
    """Architecture of a Transformer (Vaswani et al. 2017)."""

    num_encoder_layers: Positive
    num_decoder_layers: Positive
    d_model: Positive
    d_ff: Positive
    num_heads: Positive
    dropout: Fraction
    norm: Literal["pre", "post"]
    """Layer normalisation before or after each sub-layer."""
    tie_embeddings: Literal["none", "decoder", "all"]
    """Which of source embedding, target embedding and output projection are one."""

    @property
    def head_size(self) -> int:
        """Width of one attention head."""
        return self.d_model // self.num_heads

    @model_validator(mode="after")
    def _heads_divide_the_width(self) -> Model:
        if self.d_model % self.num_heads or self.d_model % 2:
            raise ValueError(
                f"d_model {self.d_model} must be even and a multiple of num_heads "
                f"{self.num_heads}"
            )
        return self


class Train(Section):
    """Optimisation and validation."""

    max_tokens: Positive
    """Target tokens an update, padding included, over all GPUs."""
    accumulate: Positive
    """Micro-batches that share an update; `max_tokens` is split among them."""
    max_steps: Positive
    schedule: Literal["inverse_sqrt", "linear"]
    learning_rate: Annotated[float, Field(gt=0)]
    """The highest, reached after `warmup_steps`."""
    warmup_steps: Annotated[int, Field(ge=0)]
    betas: tuple[float, float]
    weight_decay: Annotated[float, Field(ge=0)]
    """Decoupled from the gradient (Loshchilov and Hutter 2019), as in fairseq."""
    label_smoothing: Fraction
    clip_norm: Annotated[float, Field(ge=0)]
    """Longest gradient; 0 turns clipping off."""
    valid_interval: Positive
    """Updates between validations."""
    valid_sentences: Positive
    """The validation set is cut to so many sentences for greedy BLEU."""
    save_interval: Positive
    """Updates between saved states."""
    patience: Annotated[int, Field(ge=0)]
    """Validations without a better score before training stops; 0 never stops."""
    select: Literal["bleu", "loss"]
    """Which validation score chooses the best weights."""
    average: Positive
    """Mean of the weights of the best so many validations; 1 takes the best."""
    sampling_temperature: Annotated[float, Field(ge=1)]
    """Directions of a multilingual model are read in proportion to their sentences **
    (1 / sampling_temperature): 1 as they are, larger more evenly."""
    precision: Literal["auto", "float32", "bfloat16"]
    """`auto` is bfloat16 where the GPU has it, float32 elsewhere."""


class Decode(Section):
    """Search for translations."""

    beam_size: Positive
    length_penalty: Annotated[float, Field(ge=0)]
    """Scores are log-probability / length ** length_penalty, the end token counted."""
    max_tokens: Positive
    """Source tokens times beam size, decoded together."""
    max_length: Positive
    """Longest translation in tokens."""
    backend: Literal["ctranslate2", "torch"]
    """An ensemble is always decoded by torch."""


class Evaluate(Section):
    """Scoring and measuring."""

    baseline: str
    """The system that the paired bootstrap compares every other with whose row names
    none."""
    bootstrap_samples: Positive
    speed_sentences: Positive
    """Test sentences translated for one measurement of decoding speed."""
    speed_repetitions: Positive
    speed_reference: str
    """The system whose beam search is the unit of decoding speed."""


class Distilled(Section):
    """A training text made by a teacher (Kim and Rush, 2016)."""

    beam_size: Positive
    choose: Literal["best", "closest", "nbest"]
    """`best`: highest probability (Seq-KD, section 3.2). `closest`: of the n-best list,
    highest smoothed sentence-BLEU against the reference (Seq-Inter, section 3.3).
    `nbest`: all of the list, weighted by probability (Wang et al., 2020)."""
    shards: Positive
    """Equal parts of the training text, each translated by a job of its own."""

    @model_validator(mode="after")
    def _has_a_choice(self) -> Distilled:
        if self.choose != "best" and self.beam_size == 1:
            raise ValueError(
                f"choose {self.choose} needs several translations of a sentence, and "
                "beam_size 1 finds one"
            )
        return self


# Systems --------------------------------------------------------------------------


class WordKD(Section):
    """Word-level distillation (Kim and Rush, 2016, section 3.1)."""

    kd_weight: Annotated[float, Field(ge=0, le=1)]
    """alpha: the loss is (1 - kd_weight) NLL + kd_weight WordKD."""
    divergence: Literal["forward_kl", "reverse_kl", "mse"] = "forward_kl"
    """Of student and teacher: `forward_kl` is CE(teacher, student), the same but for a
    constant; `reverse_kl` is KL(student || teacher); `mse` the mean squared difference
    of logits (Kim et al., 2021, arXiv 2105.08919), as in The Privileged Students."""
    temperature: Annotated[float, Field(gt=0)] = 1.0
    """Of both distributions; the loss is multiplied by its square."""

    @model_validator(mode="after")
    def _temperature_matters(self) -> WordKD:
        if self.divergence == "mse" and self.temperature != 1:
            raise ValueError("mse compares logits, which a temperature does not change")
        return self


class A2D(Section):
    """Align-to-Distill (Jin et al., 2024): attention maps of all heads, aligned."""

    attn_weight: Annotated[float, Field(ge=0)] = 1.0
    """beta: weight of the attention loss."""
    attn_decay: Annotated[float, Field(gt=0, le=1)] = 0.9
    """gamma: the weight is attn_weight * attn_decay ** (epoch - 1)."""
    enc_self_attn: Annotated[float, Field(ge=0)] = 1.0
    dec_self_attn: Annotated[float, Field(ge=0)] = 0.5
    cross_attn: Annotated[float, Field(ge=0)] = 0.5
    mode: Literal["rowwise", "released"] = "rowwise"
    """`rowwise`: KL of each query's distribution, a mean over queries and maps.
    `released`: as in the authors' code, softmax over whole maps on both sides, a sum
    over maps and sentences, but without padding."""
    granularity: Literal["head", "layer"] = "head"
    """Each head to each head, or heads averaged in their layer first."""
    temperature: Annotated[float, Field(gt=0)] = 1.0
    """Of both sides; the loss is multiplied by its square."""
    mix_teacher: bool = False
    """For study only, with `released`: the teacher's maps pass an untrained convolution
    first, a fault of the authors' code."""

    @property
    def kinds(self) -> list[str]:
        """The attentions that are aligned."""
        return [kind for kind in ATTENTIONS if getattr(self, kind)]

    @model_validator(mode="after")
    def _fits_together(self) -> A2D:
        if not self.kinds:
            raise ValueError(f"one of {', '.join(ATTENTIONS)} must be above 0")
        if self.mix_teacher and self.mode == "rowwise":
            raise ValueError(
                "mix_teacher needs mode released: the rows of a mixture are no "
                "probabilities"
            )
        return self


class Losses(Section):
    """Losses beside the cross-entropy of the training text."""

    word_kd: Annotated[
        WordKD | None,
        BeforeValidator(
            lambda v: {"kd_weight": v} if type(v) in (int, float) else v,
            json_schema_input_type=WordKD | float | None,
        ),
    ] = None
    """A number is the `kd_weight`."""
    a2d: Annotated[
        A2D | None,
        BeforeValidator(
            lambda v: {"attn_weight": v} if type(v) in (int, float) else v,
            json_schema_input_type=A2D | float | None,
        ),
    ] = None
    """A number is the `attn_weight`."""

    @property
    def alignment(self) -> A2D | None:
        """The settings of A2D; without weight it would change nothing but rounding."""
        return self.a2d if self.a2d and self.a2d.attn_weight else None


class Init(Section):
    """Where the first weights come from."""

    continue_: Annotated[Name | None, Field(alias="continue")] = None
    """A system whose trained weights are the start, same seed."""
    copy_: Annotated[str | None, Field(alias="copy", pattern=TEACHER)] = None
    """A system that lends embeddings, output projection, final norms and some of its
    layers (Wibowo et al., 2024): `name` (its seed 1) or `name-seed2`."""
    layers: Literal["even", "first", "last"] = "even"
    """Which layers of each stack are copied; `even`: evenly spaced, both ends among
    them."""
    reduce: Literal["truncate"] | None = None
    """How a wider model is copied; `truncate`: leading dimensions, heads and units."""

    @model_validator(mode="after")
    def _one_start(self) -> Init:
        if self.continue_ and self.copy_:
            raise ValueError("name either continue or copy, not both")
        if not self.copy_ and (self.layers != "even" or self.reduce):
            raise ValueError("layers and reduce belong to copy, which is not given")
        return self

    def start(self, seed: int) -> str | None:
        """The run whose weights a training of this seed starts from, `name-seed1`."""
        if self.copy_:
            name, seed = parse_teacher(self.copy_)
            return f"{name}-seed{seed}"
        return f"{self.continue_}-seed{seed}" if self.continue_ else None

    @property
    def parent(self) -> str | None:
        """The system whose weights are the first ones."""
        start = self.start(1)
        return parse_teacher(start)[0] if start else None


class Prune(Section):
    """Magnitude pruning (See, Luong and Manning, 2016) of the stacks' matrices."""

    sparsity: Annotated[
        Fraction,
        BeforeValidator(lambda v: v, json_schema_input_type=Fraction | list[Fraction]),
    ]
    """Share of the weights that are zero; of a list, each makes a system of its own:
    `pruned_50`, `pruned_60`, ..."""
    scope: Literal["class_blind", "per_matrix"] = "class_blind"
    """`class_blind`: the smallest of all matrices together; `per_matrix`: of each."""


class System(Section):
    """One row of `systems:` model, corpus, losses, initialisation and pruning."""

    model: str
    teacher: Annotated[list[Annotated[str, Field(pattern=TEACHER)]], ONE_OR_MORE] = []
    """`name` (its seed 1) or `name-seed2`; several are an ensemble, of which each votes
    in the directions that it learned."""
    corpus: Annotated[list[str], Field(min_length=1), ONE_OR_MORE] = ["gold"]
    """`gold` is the clean text; others are named under `corpora:`."""
    losses: Losses = Losses()
    init: Init = Init()
    prune: Annotated[
        Prune | None,
        BeforeValidator(
            lambda v: {"sparsity": v} if type(v) in (int, float, list) else v,
            json_schema_input_type=Prune | Fraction | list[Fraction] | None,
        ),
    ] = None
    """A number or a list is the `sparsity`."""
    directions: Annotated[
        list[Annotated[str, Field(pattern=PAIR)]], SEVERAL, ONE_OR_MORE
    ] = []
    """Those of a multilingual pair that it learns; all of them by default."""
    train: dict[str, Any] = {}
    """Values of `train:` for this system alone."""
    baseline: str | None = None
    """The system that it is compared with, if not `evaluate.baseline`."""

    @model_validator(mode="after")
    def _prunes_trained_weights(self) -> System:
        if self.prune and not self.init.parent:
            raise ValueError(
                "prune needs trained weights; name them by init.continue or init.copy"
            )
        return self

    @property
    def teachers(self) -> list[tuple[str, int]]:
        """(system, seed) of each teacher."""
        return [parse_teacher(teacher) for teacher in self.teacher]

    def parents(self, seed: int) -> list[tuple[str, int]]:
        """(system, seed) of what a training of this seed needs: teachers and start."""
        start = self.init.start(seed)
        return [*self.teachers, *([parse_teacher(start)] if start else [])]

    @property
    def teacher_key(self) -> str:
        """Name of the teacher or ensemble in paths, such as `teacher-seed1`."""
        return "+".join(f"{name}-seed{seed}" for name, seed in self.teachers)

    @property
    def distilled_corpora(self) -> list[str]:
        """Corpora that a teacher makes."""
        return [corpus for corpus in self.corpus if corpus != "gold"]

    @property
    def needs_teacher_output(self) -> bool:
        """Whether training runs the teacher beside the student."""
        return bool(self.losses.word_kd or self.losses.alignment)


class Study(Section):
    """What is trained and compared."""

    pairs: Annotated[list[str], SEVERAL]
    """As `dataset/pair`."""
    systems: Annotated[list[str], SEVERAL]
    seeds: Annotated[list[Positive], SEVERAL]


class Config(Section):
    """All of `config.yaml`."""

    study: str
    datasets: dict[Name, Dataset]
    clean: Clean
    vocab: Vocab
    models: dict[Name, Model]
    train: Train
    decode: Decode
    evaluate: Evaluate
    corpora: dict[Name, Distilled]
    systems: dict[Name, System]
    studies: dict[Name, Study]


class Run(Section):
    """One training, resolved: what `config.yaml` beside a model says."""

    dataset: str
    pair: str
    system: str
    seed: int
    vocab: Vocab
    model: Model
    train: Train
    teacher: list[str]
    corpus: list[str]
    directions: list[str]
    losses: Losses
    init: Init
    prune: Prune | None
    numerics: int

    @property
    def name(self) -> str:
        """Its place among the results."""
        return f"{self.dataset}/{self.pair}/{self.system}/seed{self.seed}"

    @property
    def languages(self) -> tuple[str, str]:
        """Source and target."""
        src, tgt = self.pair.split("-")
        return src, tgt


# Names -----------------------------------------------------------------------------


def target_tag(direction: str) -> str:
    """What a source sentence of a multilingual model starts with, such as `<2en>`."""
    return f"<2{direction.partition('-')[2]}>"


def parse_testset(testset: str, pair: str) -> tuple[str, str]:
    """Split and direction of a test set; multilingual ones are named `test.de-en`."""
    split, _, direction = testset.partition(".")
    return split, direction or pair


def parse_teacher(teacher: str) -> tuple[str, int]:
    """Split `name` or `name-seed2` into the system and its seed."""
    name, _, seed = teacher.partition("-seed")
    return name, int(seed or 1)
