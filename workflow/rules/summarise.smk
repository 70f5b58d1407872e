# Statistics over the replicas, with the theory beside them; computed from the two stores alone.


rule summarise_points:
    input:
        experiment=find_file_for("summary"),
        stages=lambda wildcards: find_markers(wildcards.experiment),
    output:
        marker=update(mark("summary")),
    log:
        f"{RESULTS}/{{experiment}}/logs/summarise_points.log",
    priority: MOST_URGENT
    threads: 1
    params:
        results=RESULTS,
    message:
        "{wildcards.experiment}: summarise"
    shell:
        "python -m clhd summarise {input.experiment:q} --results {params.results:q} --wait 2>&1 | tee -i {log:q}"
        "; mark {output.marker:q}"
