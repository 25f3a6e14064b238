# Text made by teachers: Seq-KD and Seq-Inter.


rule distill:
    input:
        settings="results/{dataset}/{src}-{tgt}/settings/distill_{corpus}.yaml",
        models=teacher_models,
        exports=teacher_exports,
        vocab=vocab,
        text=multiext("results/{dataset}/{src}-{tgt}/corpus/train", ".{src}", ".{tgt}"),
    output:
        text=multiext(
            "results/{dataset}/{src}-{tgt}/distilled/{corpus}/{teacher}/train",
            ".{src}",
            ".{tgt}",
        ),
        record="results/{dataset}/{src}-{tgt}/distilled/{corpus}/{teacher}/decode.json",
    log:
        "results/logs/{dataset}/{src}-{tgt}/distill_{corpus}_{teacher}.log",
    benchmark:
        "results/benchmarks/{dataset}/{src}-{tgt}/distill_{corpus}_{teacher}.jsonl"
    # first, because trainings wait for it
    priority: 1
    threads: 1
    resources:
        gpu=1,
        mem_mb=16000,
        runtime="1d",
    params:
        teacher=lambda wildcards: teacher_folders(wildcards),
    shell:
        "python -m a2d distill --settings {input.settings:q} --teacher {params.teacher:q}"
        " --text {input.text:q} --out {output.text:q} --record {output.record:q}"
        " --threads {threads} 2>&1 | tee {log:q}"
