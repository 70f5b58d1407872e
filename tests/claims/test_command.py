"""`clhd claims` judges each time, and writes its files and figures only if something has changed."""

from pathlib import Path

import pytest

from clhd.cli import main

EXPERIMENT = """
system: saddle
axes: {schedule: [gradient_descent, fixed, ratio, alternating], dimension: [3, 4]}
replicas: 2
"""
CLAIMS = "L2: {experiments: {schedules: small}, thresholds: {largest_difference: 0}}\n"


def test_files_are_written_again_only_if_they_rest_on_what_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("small.yaml").write_text(EXPERIMENT)
    Path("config.yaml").write_text("experiments: [small.yaml]\nclaims: claims.yaml\n")
    Path("claims.yaml").write_text(CLAIMS)
    assert main(["run", "small.yaml"]) == 0

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
