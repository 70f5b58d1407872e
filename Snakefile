include: "workflow/Snakefile"


# An include leaves no default target behind, and Snakemake would find nothing to do.
workflow.default_target = "all"
