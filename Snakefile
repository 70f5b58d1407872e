include: "workflow/Snakefile"


# The default target of an included file does not count: without this line, Snakemake would find nothing to do.
workflow.default_target = "all"
