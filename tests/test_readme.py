"""The README is true: its commands and its numbers."""

import re
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

import clhd

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
STORES = (ROOT / "results" / "README.md").read_text(encoding="utf-8")
# An example is a block of Python and the next block, of text: its output.
EXAMPLES = re.findall(r"```python\n(.*?)```(?:(?!```).)*```text\n(.*?)```", README + STORES, flags=re.DOTALL)


def test_the_readme_has_an_example_of_ten_lines_at_most() -> None:
    code, output = EXAMPLES[0]
    assert len(code.splitlines()) <= 10
    assert output.strip()


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 150


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the results that the README looks into."""
    folder = tmp_path_factory.mktemp("project")
    for name in set(re.findall(r"\"results/(\w+)\"", README + STORES)):
        clhd.run_experiment(ROOT / "config" / "experiments" / f"{name}.yaml", results=folder / "results")
    return folder


@pytest.mark.parametrize(("code", "output"), EXAMPLES)
def test_an_example_of_the_readme_prints_what_is_shown(
    code: str, output: str, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    printed = StringIO()
    with redirect_stdout(printed):
        exec(compile(code, "README.md", "exec"), {})
    assert printed.getvalue() == output


def test_the_variables_that_the_readme_lists_are_those_of_the_stores(project: Path) -> None:
    results = clhd.open_results(project / "results" / "trajectories")
    rows = re.findall(r"^\| (?:`(\w+)\.zarr` )?\| (.*?) \| (.*?) \| \S+ \|$", STORES, flags=re.MULTILINE)
    part, checked = "", 0
    for name, variables, dims in rows:
        part = name or part
        for variable in re.findall(r"`(\w+)`", variables):
            data = results[part].to_dataset()[variable.replace("X", "cosine_similarity")]
            assert set(dims.replace("axes", "dimension").split(", ")) >= set(data.dims), variable
            checked += 1
    assert checked >= 15


def test_every_file_that_the_documents_link_to_exists() -> None:
    documents = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    for document in documents:
        for target in re.findall(r"\]\(([^)#:\s]+)\)", document.read_text(encoding="utf-8")):
            assert (document.parent / target).exists(), f"{document.relative_to(ROOT)} links to {target}"


def test_no_inline_formula_of_the_documents_holds_what_markdown_takes_for_its_own() -> None:
    """GitHub shows `\\,` in one as a comma, and a star may begin an emphasis."""
    formulas = 0
    for document in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md")):
        text = re.sub(r"```.*?```|`[^`\n]*`|^    .*?$", "", document.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
        for formula in re.findall(r"\$([^$]*)\$", text):
            assert not re.search(r"\\[^\w\s]|[*\n]|<(?! )|^\s|\s$", formula), f"{document.name}: ${formula}$"
            formulas += 1
    assert formulas > 400


def test_every_target_of_make_that_the_readme_names_exists() -> None:
    rules = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    named = set(re.findall(r"`make ([a-z]+)`", README))
    assert named
    assert named <= rules
