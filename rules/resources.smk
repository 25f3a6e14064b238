# What jobs ask of a cluster, as functions of their work. A failed job asks for more.

import functools

from a2d import plan

DECODING_TERAFLOPS = 2.0
"""Of a device that searches; far fewer than in training, because it writes word by word."""
DAY = 24 * 60


def scaled(base, per_mb=0, of=None):
    """So much, and so much for each MB of an input, times the attempt.

    The input must come from another group of jobs, or nobody knows its size yet when
    this one is submitted.
    """

    def amount(wildcards, input, attempt):
        megabytes = Path(input[of]).stat().st_size / 1e6 if of else 0
        return round(attempt * (base + per_mb * megabytes))

    return amount


@functools.cache
def training_work(dataset, pair, system):
    """MB of memory and minutes of a training on one device."""
    config = configs[dataset, pair]
    run = study.resolve_run(config, dataset, pair, system, 1)
    row = config.systems[system]
    teachers = [
        config.models[config.systems[name].model]
        for name, _ in row.teachers
        if row.needs_teacher_output
    ]
    update = plan.update_operations(run, teachers, plan.Text())
    seconds = run.train.max_steps * update / (plan.TERAFLOPS * 1e12)
    return plan.training_memory(run, teachers) / 1e6, seconds / 60


def train_mem_mb(wildcards, input, attempt):
    """What PyTorch and CUDA need, the model, the text; at last double.

    Its attempts are also those after the end of its time, which need no more.
    """
    memory, _ = training_work(wildcards.dataset, wildcards.pair, wildcards.system)
    files = (path for folder in input.tokens for path in Path(folder).iterdir())
    text = sum(path.stat().st_size for path in files) / 1e6
    return round((4000 + memory + text) * min(1 + attempt, 4) / 2)


def train_minutes(wildcards):
    """Twice what is expected, but a day at most: a training goes on after its limit."""
    _, expected = training_work(wildcards.dataset, wildcards.pair, wildcards.system)
    return round(min(60 + 2 * expected, DAY))


def shard_minutes(wildcards, input, attempt):
    """Twice what is expected, but a day at most: then `shards` should be more."""
    config = pair_config(wildcards)
    lengths = plan.Text().src_tokens, plan.Text().tgt_tokens
    text_bytes = Path(input.text[0]).stat().st_size / int(wildcards.shards)
    sentences = text_bytes / plan.BYTES_PER_TOKEN / lengths[0]
    operations = sum(
        plan.forward_operations(
            config.models[config.systems[parse_teacher(run)[0]].model],
            config.vocab.size,
            *lengths,
            config.corpora[wildcards.corpus].beam_size,
        )
        for run in wildcards.teacher.split("+")
    )
    expected = sentences * operations / (DECODING_TERAFLOPS * 1e12) / 60
    return round(min(attempt * (60 + 2 * expected), DAY))
