# Verdicts and figures of the claims, from the summaries of their experiments alone.


rule judge_claims:
    input:
        config=CONFIG_FILE,
        claims=CONFIG.claims,
        summaries=expand(mark("summary"), experiment=CLAIM_EXPERIMENTS),
    output:
        claims=[f"{RESULTS}/{name}.json" for name in ("claims", "claims_matrix") if name == "claims" or HAS_MATRIX],
        figures=report(
            expand(f"{RESULTS}/figures/{{claim}}.png", claim=CLAIM_FIGURE_NAMES),
            category="Claims",
        ),
        others=expand(f"{RESULTS}/figures/{{claim}}.{{suffix}}", claim=CLAIM_FIGURE_NAMES, suffix=["pdf", "svg", "rst"]),
    log:
        f"{RESULTS}/claims.log",
    conda:
        "../envs/clhd.yaml"
    threads: 1
    params:
        results=RESULTS,
    message:
        "claims: judge"
    shell:
        "python -m clhd claims {input.config:q} --results {params.results:q} 2>&1 | tee -i {log:q}"
