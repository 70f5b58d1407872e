# The end: the report, which is written even if points have failed; and the check that every run succeeded, with a table
# of the state of every experiment.


rule write_report:
    input:
        config=CONFIG_FILE,
        experiments=FILES.values(),
        summaries=expand(mark("summary"), experiment=EXPERIMENTS),
        figures=expand(rules.plot_experiment.output.png, experiment=DRAWN),
        claims=rules.judge_claims.output if CONFIG.claims else [],
    output:
        f"{RESULTS}/report.html",
    log:
        f"{RESULTS}/report.log",
    localrule: True
    threads: 1
    params:
        results=RESULTS,
    message:
        "write the report"
    shell:
        "python -m clhd report {input.config:q} --results {params.results:q} 2>&1 | tee -i {log:q}"


rule check_points:
    input:
        summaries=expand(mark("summary"), experiment=EXPERIMENTS),
        figures=expand(rules.plot_experiment.output.png, experiment=DRAWN),
    output:
        marker=f"{RESULTS}/.complete",
    log:
        f"{RESULTS}/status.log",
    retries: 0  # if points have failed, a second try fails as well
    localrule: True
    threads: 1
    params:
        config=CONFIG_FILE,
        results=RESULTS,
    message:
        "check that every run succeeded"
    shell:
        "python -m clhd status {params.config:q} --results {params.results:q} --check 2>&1 | tee -i {log:q}"
        "; date > {output.marker:q}"
