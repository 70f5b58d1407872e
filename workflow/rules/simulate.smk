# The two stages to the same quantities. Exit code 1 says that points failed: their job is done all the same, for the
# summary counts them, check_points fails because of them, and the next run tries them again. A job that is cancelled
# gets SIGTERM, all of its processes at once: it marks nothing, but the log outlives clhd and has its last words.


rule simulate_points:
    input:
        experiment=find_file,
    output:
        marker=mark("simulation"),
    log:
        f"{RESULTS}/{{experiment}}/logs/simulate_points.log",
    threads: 1000  # all cores there are: Dask spreads the blocks over them
    resources:
        **ask_for("simulation"),
    params:
        results=RESULTS,
    message:
        "{wildcards.experiment}: simulate"
    shell:
        "(python -m clhd simulate {input.experiment:q} --results {params.results:q} --workers {threads} --wait"
        " || [ $? -eq 1 ]) 2>&1 | (trap '' TERM; exec tee -i {log:q}); date > {output.marker:q}"


rule predict_points:
    input:
        experiment=find_file,
    output:
        marker=mark("theory"),
    log:
        f"{RESULTS}/{{experiment}}/logs/predict_points.log",
    threads: 1000
    resources:
        **ask_for("theory"),
    params:
        results=RESULTS,
    message:
        "{wildcards.experiment}: predict"
    shell:
        "(python -m clhd predict {input.experiment:q} --results {params.results:q} --workers {threads} --wait"
        " || [ $? -eq 1 ]) 2>&1 | (trap '' TERM; exec tee -i {log:q}); date > {output.marker:q}"
