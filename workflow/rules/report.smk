# The report, which is written for the first time when the first figure is there, and tells what is pending. The end: the
# whole report, which is written even if points have failed; and the check that every run succeeded, with a table
# of the state of every experiment.


if DRAWN:

    rule begin_report:
        input:
            figure=find_first_figure,
        output:
            marker=update(f"{RESULTS}/.report.begun"),
        log:
            f"{RESULTS}/report.log",
        localrule: True
        threads: 1
        params:
            config=give_config,
        message:
            "write a first report"
        shell:
            "printf %s {params.config:q} | python -m clhd report /dev/stdin 2>&1 | tee -i {log:q}"
            "; mark {output.marker:q}"


rule write_report:
    input:
        config=find_config_for_report,
        experiments=FILES.values(),
        summaries=expand(mark("summary"), experiment=EXPERIMENTS),
        begun=rules.begin_report.output if DRAWN else [],
        figures=expand(rules.plot_experiment.output.png, experiment=DRAWN),
        claims=rules.judge_claims.output if CONFIG.claims else [],
    output:
        update(f"{RESULTS}/report.html"),
    log:
        f"{RESULTS}/report.log",
    localrule: True
    threads: 1
    params:
        config=give_config,
    message:
        "write the report"
    shell:
        "printf %s {params.config:q} | python -m clhd report /dev/stdin 2>&1 | tee -i {log:q}"


rule check_points:
    input:
        report=rules.write_report.output,
    output:
        marker=update(f"{RESULTS}/.complete"),
    log:
        f"{RESULTS}/status.log",
    retries: 0  # if points have failed, a second try fails as well
    localrule: True
    threads: 1
    params:
        config=give_config,
    message:
        "check that every run succeeded"
    shell:
        "printf %s {params.config:q} | python -m clhd status /dev/stdin --check 2>&1 | tee -i {log:q}"
        "; mark {output.marker:q}"
