# One figure for each experiment, from its summary alone.


rule plot_experiment:
    input:
        experiment=find_file_for_figure,
        summary=rules.summarise_points.output.marker,
    output:
        png=report(
            update(f"{RESULTS}/{{experiment}}/figures/{{experiment}}.png"),
            caption="../report/figure.rst",
            category="Figures",
            labels={"experiment": "{experiment}"},
        ),
        pdf=update(f"{RESULTS}/{{experiment}}/figures/{{experiment}}.pdf"),
        caption=update(f"{RESULTS}/{{experiment}}/figures/{{experiment}}.rst"),
    log:
        f"{RESULTS}/{{experiment}}/logs/plot_experiment.log",
    priority: MOST_URGENT
    threads: 1
    params:
        results=RESULTS,
    message:
        "{wildcards.experiment}: plot"
    shell:
        "python -m clhd plot {input.experiment:q} --results {params.results:q} 2>&1 | tee -i {log:q}"
