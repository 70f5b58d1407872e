# The end: what is known of every experiment, and failure if points have failed.


rule check_points:
    input:
        expand(rules.plot_experiment.output.png, experiment=DRAWN),
    output:
        marker=f"{RESULTS}/.complete",
    log:
        f"{RESULTS}/status.log",
    conda:
        "../envs/clhd.yaml"
    threads: 1
    params:
        config=CONFIG_FILE,
        results=RESULTS,
    message:
        "what is known"
    shell:
        "python -m clhd status {params.config} --results {params.results} --check 2>&1 | tee -i {log}"
        "; date > {output.marker}"
