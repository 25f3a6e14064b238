# Tables, figures and the report page.


rule collect_scores:
    input:
        references=pair_references,
        scores=pair_scores,
        speed="results/{dataset}/{pair}/speed.tsv",
        translations=pair_translations,
    output:
        scores="results/{dataset}/{pair}/scores.tsv",
    log:
        "results/logs/{dataset}/{pair}/collect_scores.log",
    resources:
        mem_mb=scaled(4000),
        runtime=scaled(60),
    params:
        baselines=baselines,
        samples=bootstrap_samples,
    script:
        "../workflow_scripts/collect_scores.py"


rule collect_study:
    input:
        tables=study_tables,
    output:
        scores=report(
            "results/{study}/scores.tsv",
            caption="report/scores.rst",
            category="Scores",
            labels={"table": "scores"},
        ),
    log:
        "results/logs/{study}/collect_study.log",
    localrule: True
    params:
        pairs=lookup(within=config, dpath="studies/{study}/pairs"),
        seeds=lookup(within=config, dpath="studies/{study}/seeds"),
        systems=study_systems,
    script:
        "../workflow_scripts/collect_study.py"


rule plot_quality:
    input:
        scores="results/{study}/scores.tsv",
    output:
        pdf="results/{study}/figures/{dataset}/{pair}/quality.pdf",
        svg=report(
            "results/{study}/figures/{dataset}/{pair}/quality.svg",
            caption="report/quality.rst",
            category="Quality",
            labels={"pair": "{dataset}/{pair}", "figure": "quality, speed and size"},
        ),
    log:
        "results/logs/{study}/{dataset}/{pair}/plot_quality.log",
    localrule: True
    script:
        "../workflow_scripts/plot_quality.py"


rule plot_curves:
    input:
        metrics=study_metrics,
    output:
        pdf="results/{study}/figures/{dataset}/{pair}/curves.pdf",
        svg=report(
            "results/{study}/figures/{dataset}/{pair}/curves.svg",
            caption="report/curves.rst",
            category="Training",
            labels={"pair": "{dataset}/{pair}", "figure": "learning curves"},
        ),
    log:
        "results/logs/{study}/{dataset}/{pair}/plot_curves.log",
    localrule: True
    script:
        "../workflow_scripts/plot_curves.py"


rule plot_alignment:
    input:
        trainings=study_alignments,
    output:
        pdf="results/{study}/figures/{dataset}/{pair}/alignment.pdf",
        svg=report(
            "results/{study}/figures/{dataset}/{pair}/alignment.svg",
            caption="report/alignment.rst",
            category="Attention",
            labels={"pair": "{dataset}/{pair}", "figure": "alignment"},
        ),
    log:
        "results/logs/{study}/{dataset}/{pair}/plot_alignment.log",
    localrule: True
    script:
        "../workflow_scripts/plot_alignment.py"


rule plot_pruning:
    input:
        scores="results/{study}/scores.tsv",
    output:
        pdf="results/{study}/figures/{dataset}/{pair}/pruning.pdf",
        svg=report(
            "results/{study}/figures/{dataset}/{pair}/pruning.svg",
            caption="report/pruning.rst",
            category="Pruning",
            labels={"pair": "{dataset}/{pair}", "figure": "pruning"},
        ),
    log:
        "results/logs/{study}/{dataset}/{pair}/plot_pruning.log",
    localrule: True
    params:
        curves=study_curves,
    script:
        "../workflow_scripts/plot_pruning.py"


rule report:
    input:
        unpack(report_inputs),
        scores="results/{study}/scores.tsv",
        template=workflow.source_path("../workflow_scripts/report.html.j2"),
    output:
        page="results/{study}/report.html",
    log:
        "results/logs/{study}/report.log",
    localrule: True
    params:
        # not an input, so that results without them are not made again
        benchmarks="results/benchmarks",
        directions=study_directions,
        evaluations=study_evaluations,
        pairs=lookup(within=config, dpath="studies/{study}/pairs"),
        study="{study}",
        teachers=study_teachers,
    script:
        "../workflow_scripts/report.py"
