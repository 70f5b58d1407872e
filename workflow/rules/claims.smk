# Verdicts and figures of the claims, from the summaries of their experiments alone.


rule judge_claims:
    input:
        config=find_config_for_claims,
        claims=CONFIG.claims,
        summaries=expand(mark("summary"), experiment=CLAIM_EXPERIMENTS),
    output:
        claims=update(expand(f"{RESULTS}/{{file}}", file=CLAIM_FILES)),
        figures=report(
            update(expand(f"{RESULTS}/figures/{{figure}}.png", figure=CLAIM_FIGURES)),
            category="Claims",
        ),
        others=update(
            expand(f"{RESULTS}/figures/{{figure}}.{{suffix}}", figure=CLAIM_FIGURES, suffix=["pdf", "svg", "rst"])
        ),
    log:
        f"{RESULTS}/claims.log",
    priority: MOST_URGENT
    threads: 1
    params:
        config=give_config,
    message:
        "claims: judge"
    shell:
        "printf %s {params.config:q} | python -m clhd claims /dev/stdin 2>&1 | tee -i {log:q}"
