"""The list of experiments is Snakemake's config, however that is given; and the workflow is a module of others.

This starts Snakemake six times on a toy system: about half a minute.
"""

import shutil
from pathlib import Path

from tests.workflow.project import ROOT, Project, stages

OUTER = """\
configfile: "outer.yaml"

rule mine:
    input: "elsewhere/first/.summary.done", "elsewhere/report.html"
    output: "{{experiment}}.txt"
    shell: "touch {{output}}"

module clhd:
    snakefile: "{root}/workflow/Snakefile"
    config: config["sweep"]

use rule * from clhd as clhd_*

rule everything:
    default_target: True
    input: "any.txt", rules.clhd_all.input
"""


def test_config_on_the_command_line_changes_single_keys(project: Project) -> None:
    assert project.plan("--config", "experiments=[config/second.yaml]", "results=other") == stages("second")
    run = project.run("-n", "--config", "resluts=other")
    assert run.code == 2
    assert "config/config.yaml, --config: unknown key 'resluts'; did you mean 'results'?" in run.output
    assert "Traceback" not in run.output


def test_a_list_of_ones_own_replaces_the_default_and_a_second_file_changes_the_first(project: Project) -> None:
    project.write("config/config.yaml", "experiments: [no.yaml]\nclaims: no.yaml\n")
    project.write("my list.yaml", "experiments: [config/first.yaml]\n")
    project.write("more.yaml", "experiments: [config/first.yaml, config/second.yaml]\nresults: other\n")
    assert project.plan("--configfile", "my list.yaml") == stages("first")
    run = project.run("-n", "--configfile", "my list.yaml", "more.yaml")
    assert "other/second/.simulation.done" in run.output


def test_the_workflow_is_a_module_of_another_and_takes_its_config(project: Project, tmp_path: Path) -> None:
    project.write("Snakefile", OUTER.format(root=ROOT))
    project.write("outer.yaml", "mine: 1\nsweep: {experiments: [config/first.yaml], results: elsewhere}\n")
    (tmp_path / "config/config.yaml").unlink()
    snakefile = tmp_path / "Snakefile"
    run = project.run(snakefile=snakefile)
    assert run.code == 0, run.output
    assert (tmp_path / "any.txt").exists()
    for name in ("first/simulation.zarr", "first/figures/first.png", "report.html", ".complete"):
        assert (tmp_path / "elsewhere" / name).exists(), run.output
    assert not (tmp_path / "results").exists()
    assert project.plan(snakefile=snakefile) == set()
    project.write("Snakefile", OUTER.format(root=ROOT).replace("    config: c", '    prefix: "pre"\n    config: c'))
    run = project.run("-n", snakefile=snakefile)
    assert run.code == 2
    assert "outer.yaml: a module's prefix and the storage of Snakemake are not supported; set results" in run.output


def test_modules_of_the_user_beside_the_rules_are_not_taken_for_libraries(project: Project, tmp_path: Path) -> None:
    for name in ("workflow", "profiles"):
        shutil.copytree(ROOT / name, tmp_path / name)
    shutil.copy(ROOT / "Snakefile", tmp_path)
    for folder in (".", "workflow", "workflow/rules"):
        for library in ("yaml", "zarr", "xarray", "pydantic"):
            project.write(f"{folder}/{library}.py", "raise RuntimeError('the wrong library')\n")
    project.write("config/config.yaml", "experiments: [config/first.yaml]\n")
    assert project.plan(snakefile=tmp_path / "Snakefile") == stages("first")
    run = project.run("results/first/.theory.done", snakefile=tmp_path / "Snakefile")
    assert run.code == 0, run.output
