"""`clhd claims` judges each time, and writes its files and figures only if something has changed."""

import subprocess
import sys
from pathlib import Path

import pytest

from clhd.cli import main

EXPERIMENT = """
system: saddle
axes: {schedule: [gradient_descent, fixed, ratio, alternating], dimension: [3, 4]}
replicas: 2
"""
CLAIMS = "L2: {experiments: {schedules: small}, thresholds: {largest_difference: 0}}\n"


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with the results of an experiment and a claim about it."""
    monkeypatch.chdir(tmp_path)
    Path("small.yaml").write_text(EXPERIMENT)
    Path("config.yaml").write_text("experiments: [small.yaml]\nclaims: claims.yaml\n")
    Path("claims.yaml").write_text(CLAIMS)
    assert main(["run", "small.yaml"]) == 0
    return tmp_path


def test_commands_import_no_library_that_they_do_not_use(study: Path) -> None:
    assert main(["claims", "config.yaml"]) == 0
    drawing = {"dask", "scipy.stats", "zarr"}
    for command, unused in (
        (["claims", "config.yaml"], {*drawing, "matplotlib"}),
        (["show", "small", "--no-open"], {*drawing, "matplotlib"}),
        (["plot", "small.yaml"], drawing),
    ):
        program = f"import sys; from clhd.cli import main; main({command}); print({unused} & set(sys.modules))"
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1] == "set()", command


def test_files_are_written_again_only_if_they_rest_on_what_has_changed(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def judge() -> tuple[str, bool]:
        """The verdict that is printed, and whether files were written."""
        capsys.readouterr()
        assert main(["claims", "config.yaml"]) == 0
        output = capsys.readouterr().out
        return output.splitlines()[0], "its figures are those of these verdicts, and stay" not in output

    verdict, is_written = judge()
    assert is_written
    assert judge() == (verdict, False)
    changes = [
        Path("results/.claims.json").unlink,
        lambda: Path("results/claims.json").write_text("{}"),
        lambda: Path("claims.yaml").write_text(CLAIMS.replace("largest_difference: 0", "largest_difference: 1")),
    ]
    for change in changes:
        change()
        assert judge()[1], change
        assert not judge()[1], change
