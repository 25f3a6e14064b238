# Translations of the test sets, their scores, and the decoding speed.


rule evaluate:
    input:
        settings="results/{dataset}/{pair}/settings/decode.yaml",
        model="results/{dataset}/{pair}/{system}/seed{seed}/model.safetensors",
        export="results/{dataset}/{pair}/{system}/seed{seed}/ctranslate2",
        text=testset_text,
    output:
        beam=ensure(
            "results/{dataset}/{pair}/{system}/seed{seed}/translations/{testset}.txt",
            non_empty=True,
        ),
        greedy="results/{dataset}/{pair}/{system}/seed{seed}/translations/{testset}.greedy.txt",
        scores="results/{dataset}/{pair}/{system}/seed{seed}/scores/{testset}.json",
    log:
        "results/logs/{dataset}/{pair}/{system}/seed{seed}/evaluate_{testset}.log",
    benchmark:
        "results/benchmarks/{dataset}/{pair}/{system}/seed{seed}/evaluate_{testset}.jsonl"
    resources:
        gpu=1,
        mem_mb=scaled(3000, per_mb=6, of="model"),
        runtime=scaled(60),
    params:
        run=subpath(input.model, parent=True),
    shell:
        "python -m a2d on_gpus {resources.gpu} python -m a2d evaluate {params.run:q}"
        " --settings {input.settings:q}"
        " --testset {wildcards.testset} --text {input.text:q}"
        " --translations {output.beam:q} {output.greedy:q} --scores {output.scores:q}"
        " --threads {threads} 2>&1 | tee {log:q}"


rule speed:
    input:
        settings="results/{dataset}/{pair}/settings/evaluate.yaml",
        exports=lambda wildcards: runs_of(
            wildcards, "{folder}/{system}/seed{seed}/ctranslate2"
        ),
        text=speed_text,
    output:
        "results/{dataset}/{pair}/speed.tsv",
    log:
        "results/logs/{dataset}/{pair}/speed.log",
    benchmark:
        "results/benchmarks/{dataset}/{pair}/speed.jsonl"
    # all cores, so that no other job disturbs the one thread that is measured; on a
    # cluster, where nobody counts them, a few
    threads: workflow.resource_settings.cores or 4
    resources:
        mem_mb=scaled(8000),
        runtime=lambda wildcards, input, attempt: attempt
        * (30 + 5 * len(input.exports)),
    params:
        runs=lambda wildcards: runs_of(wildcards, "{folder}/{system}/seed{seed}"),
    shell:
        "python -m a2d speed {params.runs:q} --settings {input.settings:q}"
        " --src {input.text:q} --out {output:q} --threads 1 2>&1 | tee {log:q}"
