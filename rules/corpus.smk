# Text: fetch it, clean it, segment it.


rule write_settings:
    output:
        "results/{dataset}/{pair}/settings/{job}.yaml",
    log:
        "results/logs/{dataset}/{pair}/settings/{job}.log",
    localrule: True
    params:
        text=job_settings,
    shell:
        "printf %s {params.text:q} > {output:q} 2> {log:q}"


rule fetch:
    input:
        settings="results/{dataset}/{pair}/settings/fetch_{split}.yaml",
        files=local_files,
    output:
        raw="results/{dataset}/{pair}/raw/{split}.tsv.gz",
        record="results/{dataset}/{pair}/raw/{split}.json",
    log:
        "results/logs/{dataset}/{pair}/fetch_{split}.log",
    benchmark:
        "results/benchmarks/{dataset}/{pair}/fetch_{split}.jsonl"
    resources:
        mem_mb=scaled(4000),
        runtime=scaled(12 * 60),
    params:
        downloads="results/downloads",
        lock="downloads.lock",
    shell:
        "python -m a2d fetch --settings {input.settings:q} --out {output.raw:q}"
        " --downloads {params.downloads} --lock {params.lock} 2>&1 | tee {log:q}"


rule fetch_all:
    input:
        all_raw_texts,
    localrule: True


rule clean:
    input:
        settings="results/{dataset}/{src}-{tgt}/settings/clean.yaml",
        raw=raw_text,
        protect=protected_text,
    output:
        text=multiext(
            "results/{dataset}/{src}-{tgt}/corpus/{split}", ".{src}", ".{tgt}"
        ),
        counts="results/{dataset}/{src}-{tgt}/corpus/{split}.counts.tsv",
    log:
        "results/logs/{dataset}/{src}-{tgt}/clean_{split}.log",
    benchmark:
        "results/benchmarks/{dataset}/{src}-{tgt}/clean_{split}.jsonl"
    threads: 2
    resources:
        mem_mb=scaled(1000, per_mb=1, of="raw"),
        runtime=scaled(30, per_mb=1, of="raw"),
    shell:
        "python -m a2d clean --settings {input.settings:q} --split {wildcards.split}"
        " --raw {input.raw:q} --protect {input.protect:q} --out {output.text:q}"
        " --counts {output.counts:q} --threads {threads} 2>&1 | tee {log:q}"


use rule clean as clean_direction with:
    input:
        settings="results/{dataset}/{pair}/settings/clean_{src}-{tgt}.yaml",
        raw=raw_text,
        protect=protected_text,
    output:
        text=multiext(
            "results/{dataset}/{pair}/corpus/{src}-{tgt}/{split}", ".{src}", ".{tgt}"
        ),
        counts="results/{dataset}/{pair}/corpus/{src}-{tgt}/{split}.counts.tsv",
    log:
        "results/logs/{dataset}/{pair}/{src}-{tgt}/clean_{split}.log",
    benchmark:
        "results/benchmarks/{dataset}/{pair}/{src}-{tgt}/clean_{split}.jsonl"


rule vocab:
    input:
        settings="results/{dataset}/{src}-{tgt}/settings/vocab.yaml",
        text=lambda wildcards: texts(wildcards, "train"),
    output:
        vocab=multiext("results/{dataset}/{src}-{tgt}/vocab/", "{src}.spm", "{tgt}.spm"),
    log:
        "results/logs/{dataset}/{src}-{tgt}/vocab.log",
    benchmark:
        "results/benchmarks/{dataset}/{src}-{tgt}/vocab.jsonl"
    resources:
        mem_mb=scaled(6000),
        runtime=scaled(120),
    shell:
        "python -m a2d vocab --settings {input.settings:q} --text {input.text:q}"
        " --out {output.vocab:q} 2>&1 | tee {log:q}"


rule encode:
    input:
        text=folder_text,
        weights=line_weights,
        vocab=vocab,
    output:
        directory("results/{dataset}/{pair}/{folder}/train.tokens"),
    log:
        "results/logs/{dataset}/{pair}/encode/{folder}.log",
    benchmark:
        "results/benchmarks/{dataset}/{pair}/encode/{folder}.jsonl"
    threads: 2
    resources:
        mem_mb=scaled(2000),
        runtime=scaled(120),
    shell:
        "python -m a2d encode --text {input.text:q} --weights {input.weights:q}"
        " --vocab {input.vocab:q} --out {output:q} --threads {threads} 2>&1 | tee {log:q}"
