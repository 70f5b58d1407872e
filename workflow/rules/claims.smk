# The claims, from the summaries of their experiments: made again without computing anything.


rule judge_claims:
    input:
        config=CONFIG_FILE,
        claims=CONFIG.claims,
        summaries=expand(mark("summary"), experiment=CLAIM_EXPERIMENTS),
    output:
        claims=f"{RESULTS}/claims.json",
        figures=report(
            expand(f"{RESULTS}/figures/{{claim}}.png", claim=CLAIM_SETTINGS),
            category="Claims",
        ),
        vectors=expand(f"{RESULTS}/figures/{{claim}}.{{suffix}}", claim=CLAIM_SETTINGS, suffix=["pdf", "svg"]),
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
        "python -m clhd claims {input.config} --results {params.results} 2>&1 | tee -i {log}"
