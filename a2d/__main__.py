"""The command line: each subcommand calls the function of the same name."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

# everything else is imported by the subcommands that need it, so that `a2d --help`
# answers at once


def fetch(args: argparse.Namespace) -> None:
    from a2d import jobs
    from a2d.fetch import fetch
    from a2d.section import load

    job = load(jobs.FetchJob, args.settings)
    fetch(job.sources, job.src, job.tgt, args.out, args.downloads, args.lock)


def clean(args: argparse.Namespace) -> None:
    from a2d import jobs
    from a2d.corpus import clean
    from a2d.section import load

    job = load(jobs.CleanJob, args.settings)
    from_train = args.split == "train" or args.split in job.hold_out
    out_src, out_tgt = args.out
    clean(
        args.raw,
        out_src,
        out_tgt,
        args.counts,
        job.filters if from_train else None,
        args.split,
        job.hold_out if from_train else {},
        pairs_of(args.protect),
        args.threads,
        job.tag,
    )


def vocab(args: argparse.Namespace) -> None:
    from a2d import jobs
    from a2d.section import load
    from a2d.vocab import train_vocab

    job = load(jobs.VocabJob, args.settings)
    for number, out in enumerate(args.out):
        files = args.text if job.joint else args.text[number::2]
        train_vocab(files, out, job.size, job.kind, job.tags)


def encode(args: argparse.Namespace) -> None:
    from a2d.encode import encode

    encode(args.text, args.vocab, args.out, args.threads, args.weights)


def train(args: argparse.Namespace) -> None:
    from a2d import config
    from a2d.section import load
    from a2d.train import Files, train

    files = Files(
        train=args.tokens,
        valid=pairs_of(args.valid),
        vocabs=args.vocab,
        teachers=args.teacher,
        start=args.init,
    )
    train(load(config.Run, args.run / "config.yaml"), files, args.run)


def export(args: argparse.Namespace) -> None:
    from a2d.export import export

    export(args.run, args.vocab, args.out)


def distill_shard(args: argparse.Namespace) -> None:
    from a2d import jobs
    from a2d.distill import distill_shard
    from a2d.section import load
    from a2d.translate import open_models

    job = load(jobs.DistillJob, args.settings)
    backend, vocabs = open_models(args.teacher, job.decode.backend, args.threads)
    shard, shards = args.shard
    distill_shard(job, backend, vocabs, args.text, shard, shards, args.out)


def distill(args: argparse.Namespace) -> None:
    from a2d import jobs
    from a2d.distill import distill
    from a2d.section import load

    job = load(jobs.DistillJob, args.settings)
    distill(
        job,
        args.teacher,
        args.text,
        args.shards,
        args.out,
        args.weights,
        args.record,
    )


def evaluate(args: argparse.Namespace) -> None:
    from a2d import config
    from a2d.corpus import read_parallel
    from a2d.evaluate import evaluate
    from a2d.files import atomic_write
    from a2d.section import load

    decode = load(config.Decode, args.settings)
    sources, references = zip(*read_parallel(*args.text), strict=True)
    facts, *translations = evaluate(
        decode, args.run, sources, references, args.testset, args.threads
    )
    for path, lines in zip(args.translations, translations, strict=True):
        with atomic_write(path) as file:
            file.writelines(f"{line}\n" for line in lines)
    with atomic_write(args.scores) as file:
        file.write(json.dumps(facts, indent=1) + "\n")


def speed(args: argparse.Namespace) -> None:
    import pandas as pd

    from a2d import jobs
    from a2d.corpus import read_lines
    from a2d.evaluate import measure_speed
    from a2d.files import atomic_write
    from a2d.section import load

    job = load(jobs.EvaluateJob, args.settings)
    share = -(-job.evaluate.speed_sentences // len(args.src))
    sources = [line for path in args.src for line in islice(read_lines(path), share)]
    rows = measure_speed(job, args.run, sources, args.threads)
    with atomic_write(args.out) as file:
        pd.DataFrame(rows).to_csv(file, sep="\t", index=False)


def translate(args: argparse.Namespace) -> None:
    from a2d import config
    from a2d.corpus import decode_lines, normalise
    from a2d.section import UserError, parse
    from a2d.translate import open_models, translate

    if args.n_best > args.beam_size:
        raise UserError(f"--n-best {args.n_best} needs as large a --beam-size")
    search = {
        "beam_size": args.beam_size,
        "length_penalty": args.length_penalty,
        "max_tokens": 4000 * args.beam_size,
        "max_length": 256,
        "backend": "torch" if len(args.model) > 1 else "ctranslate2",
    }
    decode = parse(config.Decode, search)
    backend, vocabs = open_models(
        args.model, decode.backend, args.threads, args.compute_type
    )
    stdin = decode_lines(sys.stdin.buffer, "standard input")
    lines = [normalise(line) for line in stdin]
    for nbest in translate(backend, vocabs, lines, decode, args.n_best):
        for found in nbest:
            print(f"{found.score:.4f}\t{found.text}" if args.n_best > 1 else found.text)


def pairs_of(paths: Sequence[Path]) -> list[tuple[Path, Path]]:
    """Source and target files, given one after the other.

    Raises:
        UserError: if there is one too many.
    """
    from a2d.section import UserError

    if len(paths) % 2:
        raise UserError(f"{paths[-1]}: it stands alone; files come in pairs")
    return list(zip(paths[::2], paths[1::2], strict=True))


def on_gpus(args: argparse.Namespace) -> None:
    from a2d.gpus import on_gpus

    on_gpus(args.number, args.program)


def plan(args: argparse.Namespace) -> None:
    from a2d.plan import plan
    from a2d.section import read

    print(plan(read(args.config), args.study, args.results, args.teraflops))


def parser() -> argparse.ArgumentParser:
    """All subcommands and their arguments."""
    top = argparse.ArgumentParser(
        prog="a2d",
        description="Small, fast translation models by knowledge distillation.",
        epilog="The workflow calls these commands; `a2d translate` is for everybody.",
    )
    commands = top.add_subparsers(required=True, metavar="COMMAND", dest="command")
    cores = int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1))

    def command(
        function: Callable[[argparse.Namespace], None], summary: str
    ) -> Callable[..., None]:
        name = function.__name__
        sub = commands.add_parser(name, help=summary, description=summary)
        sub.set_defaults(function=function)

        def argument(name: str, summary: str, **how: Any) -> None:
            how.setdefault("type", Path)
            if name.startswith("--"):
                how.setdefault(
                    "required", "default" not in how and how.get("nargs") != "?"
                )
            sub.add_argument(name, help=summary, **how)

        return argument

    add = command(fetch, "get the raw text of one split")
    add("--settings", "sources (YAML)")
    add("--out", "raw text, .tsv.gz of document, source, target")
    add("--downloads", "folder that keeps what was downloaded")
    add("--lock", "file that records hashes of first downloads")

    add = command(clean, "filter one split of a raw text")
    add("--settings", "filters and shares held out (YAML)")
    add("--split", "train, valid or a test set", type=str)
    add("--raw", "raw text")
    add("--protect", "files whose sentences are removed", nargs="*", default=[])
    add("--out", "source and target text", nargs=2)
    add("--counts", "table of what each step kept and dropped")
    add("--threads", "processes", type=int, default=cores)

    add = command(vocab, "train SentencePiece models")
    add("--settings", "size and kind (YAML)")
    add("--text", "source and target text, of each direction", nargs="+")
    add("--out", "source and target vocabulary", nargs=2)

    add = command(encode, "segment a text for training")
    add("--text", "source and target text", nargs=2)
    add("--vocab", "source and target vocabulary", nargs=2)
    add("--weights", "a number for each line of the text", nargs="?")
    add("--out", "folder of the encoded text")
    add("--threads", "segmenting at once", type=int, default=cores)

    add = command(train, "train the system of a run folder; goes on where it stopped")
    add("run", "run folder with a config.yaml")
    add("--tokens", "encoded text: folders of each corpus, by direction", nargs="+")
    add("--valid", "source and target text, of each direction", nargs="+")
    add("--vocab", "source and target vocabulary", nargs=2)
    add("--teacher", "run folders", nargs="*", default=[])
    add("--init", "run folder whose weights are the first ones", nargs="?")

    add = command(export, "write a trained model for CTranslate2")
    add("run", "run folder")
    add("--vocab", "source and target vocabulary", nargs=2)
    add("--out", "folder of the exported model")

    add = command(distill_shard, "let a teacher translate a part of the training text")
    add("--settings", "search and choice (YAML)")
    add("--teacher", "run folders, several for an ensemble", nargs="+")
    add("--text", "clean source and target text", nargs=2)
    add("--shard", "number of the part, from 1, and of all parts", nargs=2, type=int)
    add("--out", "translations, .tsv")
    add("--threads", "translating at once", type=int, default=cores)

    add = command(distill, "gather the parts that a teacher translated")
    add("--settings", "search and choice (YAML)")
    add("--teacher", "run folders, which are written down", nargs="+")
    add("--text", "clean source and target text", nargs=2)
    add("--shards", "translations of all parts, in order", nargs="+")
    add("--out", "distilled source and target text", nargs=2)
    add("--weights", "file for the weight of each line")
    add("--record", "JSON file for the settings and what came out")

    add = command(evaluate, "translate a test set and score the translations")
    add("run", "run folder")
    add("--settings", "search (YAML)")
    add("--testset", "its name", type=str)
    add("--text", "source and reference text", nargs=2)
    add("--translations", "files for beam and greedy search", nargs=2)
    add("--scores", "JSON file for the scores")
    add("--threads", "translating at once", type=int, default=cores)

    add = command(speed, "measure the decoding speed of exported models side by side")
    add("run", "run folders", nargs="+")
    add("--settings", "search and repetitions (YAML)")
    add("--src", "source text, of which equal parts are taken", nargs="+")
    add("--out", "table, .tsv")
    add("--threads", "translating at once", type=int, default=cores)

    add = command(on_gpus, "run a command on GPUs that no other such command uses")
    add("number", "of GPUs", type=int)
    add("program", "with its arguments", nargs=argparse.REMAINDER, type=str)

    add = command(plan, "tell what a study will cost: trainings, hours and disk")
    add("--study", "its name; the chosen one without", type=str, nargs="?")
    add("--teraflops", "of one device; measured without", type=float, nargs="?")
    add("--config", "studies (YAML)", default=Path("config.yaml"))
    add("--results", "folder of what is done", default=Path("results"))

    add = command(translate, "translate standard input to standard output")
    add("model", "exported model or run folder; several run folders vote", nargs="+")
    add("--beam-size", "1 is greedy search", type=int, default=5)
    add("--length-penalty", "exponent of the length", type=float, default=1.0)
    add(
        "--n-best",
        "translations a line, with scores; an empty line has one",
        type=int,
        default=1,
    )
    add(
        "--compute-type",
        "int8 is faster; one exported model only",
        choices=("default", "float32", "int8"),
        type=str,
        default="default",
    )
    add("--threads", "translating at once", type=int, default=cores)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand; a user's mistake is told in a sentence."""
    args = parser().parse_args(argv)
    from a2d.section import Interrupted, UserError

    try:
        args.function(args)
    except UserError as error:
        print(f"a2d {args.command}: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # the reader of a pipe has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except Interrupted as interrupted:
        print(f"a2d {args.command}: {interrupted}", file=sys.stderr)
        return 128 + signal.SIGTERM
    return 0


if __name__ == "__main__":
    sys.exit(main())
