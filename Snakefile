# a2d: from parallel text to small translation models, and how good they are.
# Chapters: rules/corpus.smk (text and vocabulary), rules/train.smk (all systems),
# rules/distill.smk (text made by teachers), rules/evaluate.smk, rules/report.smk.

from snakemake.utils import min_version

min_version("9.21")


configfile: "config.yaml"


# with `--sdm apptainer`; built by `apptainer build envs/a2d.sif envs/a2d.def`
container: "envs/a2d.sif"


include: "rules/common.smk"
include: "rules/resources.smk"
include: "rules/slurm.smk"
include: "rules/corpus.smk"
include: "rules/train.smk"
include: "rules/distill.smk"
include: "rules/evaluate.smk"
include: "rules/study.smk"
include: "rules/report.smk"


rule all:
    default_target: True
    input:
        expand("results/{study}/report.html", study=config["study"]),
        expand("results/{study}/scores.tsv", study=config["study"]),
    localrule: True
