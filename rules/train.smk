# Trainings: one rule for every system, and the exported form of what it trained.


rule write_config:
    output:
        "results/{dataset}/{pair}/{system}/seed{seed}/config.yaml",
    log:
        "results/logs/{dataset}/{pair}/{system}/seed{seed}/config.log",
    localrule: True
    params:
        text=run_settings,
    shell:
        "printf %s {params.text:q} > {output:q} 2> {log:q}"


rule train:
    input:
        config="results/{dataset}/{pair}/{system}/seed{seed}/config.yaml",
        tokens=training_tokens,
        valid=valid_text,
        vocab=vocab,
        teacher=teacher_models,
        start=start_model,
    output:
        model="results/{dataset}/{pair}/{system}/seed{seed}/model.safetensors",
        metrics="results/{dataset}/{pair}/{system}/seed{seed}/metrics.jsonl",
        summary="results/{dataset}/{pair}/{system}/seed{seed}/training.json",
    log:
        "results/logs/{dataset}/{pair}/{system}/seed{seed}/train.log",
    benchmark:
        "results/benchmarks/{dataset}/{pair}/{system}/seed{seed}/train.jsonl"
    threads: training_threads
    resources:
        gpu=1,
        mem_mb=train_mem_mb,
        runtime=train_minutes,
    params:
        # what a training needs to go on after an interruption lies in its `state/`,
        # which is no output, because Snakemake deletes the outputs of a failed job
        run=subpath(output.model, parent=True),
        teacher=lambda wildcards: teacher_folders(wildcards),
        start=lambda wildcards: start_folder(wildcards),
        python=launcher,
    shell:
        # tee outlives the signals that tell the training to save its state
        "{params.python} -m a2d train"
        " {params.run:q} --tokens {input.tokens:q}"
        " --valid {input.valid:q} --vocab {input.vocab:q} --teacher {params.teacher:q}"
        " --init {params.start:q} 2>&1 | (trap '' INT TERM USR1; tee {log:q})"


rule export:
    input:
        model="results/{dataset}/{pair}/{system}/seed{seed}/model.safetensors",
        vocab=vocab,
    output:
        directory("results/{dataset}/{pair}/{system}/seed{seed}/ctranslate2"),
    log:
        "results/logs/{dataset}/{pair}/{system}/seed{seed}/export.log",
    benchmark:
        "results/benchmarks/{dataset}/{pair}/{system}/seed{seed}/export.jsonl"
    resources:
        mem_mb=scaled(2000, per_mb=6, of="model"),
        runtime=scaled(30),
    params:
        run=subpath(input.model, parent=True),
    shell:
        "python -m a2d export {params.run:q} --vocab {input.vocab:q} --out {output:q}"
        " 2>&1 | tee {log:q}"
