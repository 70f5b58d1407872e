# Verdicts and figures of the claims, from the summaries of their experiments alone.


rule judge_claims:
    input:
        config=CONFIG_FILE,
        claims=CONFIG.claims,
        summaries=expand(mark("summary"), experiment=CLAIM_EXPERIMENTS),
    output:
        claims=expand(f"{RESULTS}/{{file}}", file=CLAIM_FILES),
        figures=report(
            expand(f"{RESULTS}/figures/{{figure}}.png", figure=CLAIM_FIGURES),
            category="Claims",
        ),
        others=expand(f"{RESULTS}/figures/{{figure}}.{{suffix}}", figure=CLAIM_FIGURES, suffix=["pdf", "svg", "rst"]),
    log:
        f"{RESULTS}/claims.log",
    threads: 1
    params:
        results=RESULTS,
    message:
        "claims: judge"
    shell:
        "python -m clhd claims {input.config:q} --results {params.results:q} 2>&1 | tee -i {log:q}"
