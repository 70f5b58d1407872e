# The two stages that compute the same quantities. Exit code 1 means that points failed. The job still counts as done: the
# summary counts the failed points, check_points fails because of them, and the next run tries them again. If a job is
# cancelled, all its processes get SIGTERM: no marker is written, and tee ignores SIGTERM to log the last lines of clhd.


rule simulate_points:
    input:
        experiment=find_file_for("simulation"),
        decided=find_deciding_before("simulation"),
    output:
        marker=update(mark("simulation")),
    log:
        f"{RESULTS}/{{experiment}}/logs/simulate_points.log",
    priority: rank("simulation")
    threads: share_cores("simulation")
    resources:
        **ask_for("simulation"),
    params:
        results=RESULTS,
        workers=count_workers,
    message:
        "{wildcards.experiment}: simulate"
    shell:
        "(python -m clhd simulate {input.experiment:q} --results {params.results:q} --workers {params.workers} --wait"
        " || [ $? -eq 1 ]) 2>&1 | (trap '' TERM; exec tee -i {log:q}); mark {output.marker:q}"


rule predict_points:
    input:
        experiment=find_file_for("theory"),
        decided=find_deciding_before("theory"),
    output:
        marker=update(mark("theory")),
    log:
        f"{RESULTS}/{{experiment}}/logs/predict_points.log",
    priority: rank("theory")
    threads: share_cores("theory")
    resources:
        **ask_for("theory"),
    params:
        results=RESULTS,
        workers=count_workers,
    message:
        "{wildcards.experiment}: predict"
    shell:
        "(python -m clhd predict {input.experiment:q} --results {params.results:q} --workers {params.workers} --wait"
        " || [ $? -eq 1 ]) 2>&1 | (trap '' TERM; exec tee -i {log:q}); mark {output.marker:q}"
