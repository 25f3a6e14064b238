# Text made by teachers: Seq-KD, Seq-Inter, n-best lists.


rule distill_shard:
    input:
        settings="results/{dataset}/{pair}/settings/distill_{corpus}.yaml",
        models=teacher_models,
        exports=teacher_exports,
        vocab=vocab,
        text=training_text,
    output:
        # kept, so that one that is lost is translated again alone
        "results/{dataset}/{pair}/distilled/{corpus}/{teacher}{part}/shards/{shard}-of-{shards}.tsv",
    log:
        "results/logs/{dataset}/{pair}/distill_{corpus}_{teacher}{part}/{shard}-of-{shards}.log",
    benchmark:
        "results/benchmarks/{dataset}/{pair}/distill_{corpus}_{teacher}{part}/{shard}-of-{shards}.jsonl"
    # first, because trainings wait for it
    priority: 1
    threads: 1
    resources:
        gpu=1,
        mem_mb=scaled(8000),
        runtime=shard_minutes,
    params:
        teacher=lambda wildcards: teacher_folders(wildcards),
    shell:
        "python -m a2d on_gpus {resources.gpu} python -m a2d distill_shard"
        " --settings {input.settings:q}"
        " --teacher {params.teacher:q} --text {input.text:q}"
        " --shard {wildcards.shard} {wildcards.shards} --out {output:q}"
        " --threads {threads} 2>&1 | tee {log:q}"


rule distill:
    input:
        settings="results/{dataset}/{src}-{tgt}/settings/distill_{corpus}.yaml",
        shards=shards,
        text=training_text,
    output:
        text=multiext(
            "results/{dataset}/{src}-{tgt}/distilled/{corpus}/{teacher}/train",
            ".{src}",
            ".{tgt}",
        ),
        weights="results/{dataset}/{src}-{tgt}/distilled/{corpus}/{teacher}/train.weights",
        record="results/{dataset}/{src}-{tgt}/distilled/{corpus}/{teacher}/decode.json",
    log:
        "results/logs/{dataset}/{src}-{tgt}/distill_{corpus}_{teacher}.log",
    benchmark:
        "results/benchmarks/{dataset}/{src}-{tgt}/distill_{corpus}_{teacher}.jsonl"
    priority: 1
    resources:
        mem_mb=scaled(2000),
        runtime=scaled(120),
    params:
        teacher=lambda wildcards: teacher_folders(wildcards),
    shell:
        "python -m a2d distill --settings {input.settings:q}"
        " --teacher {params.teacher:q} --text {input.text:q}"
        " --shards {input.shards:q} --out {output.text:q} --weights {output.weights:q}"
        " --record {output.record:q} 2>&1 | tee {log:q}"


use rule distill as distill_direction with:
    input:
        settings="results/{dataset}/{pair}/settings/distill_{corpus}.yaml",
        shards=shards,
        text=training_text,
    output:
        text=multiext(
            "results/{dataset}/{pair}/distilled/{corpus}/{teacher}/{src}-{tgt}/train",
            ".{src}",
            ".{tgt}",
        ),
        weights="results/{dataset}/{pair}/distilled/{corpus}/{teacher}/{src}-{tgt}/train.weights",
        record="results/{dataset}/{pair}/distilled/{corpus}/{teacher}/{src}-{tgt}/decode.json",
    log:
        "results/logs/{dataset}/{pair}/distill_{corpus}_{teacher}/{src}-{tgt}.log",
    benchmark:
        "results/benchmarks/{dataset}/{pair}/distill_{corpus}_{teacher}/{src}-{tgt}.jsonl"
