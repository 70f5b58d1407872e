"""Everything that the documents name exists: files behind links, anchors, modules, tests and constants."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from clhd.systems.registry import find_system, list_systems

ROOT = Path(__file__).parents[1]
DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "config/README.md", "results/README.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
# The code and the configuration tell their readers of modules and pages, too.
NAMING = [
    *DOCUMENTS,
    *(ROOT / name for name in ("Makefile", "pyproject.toml", ".ci/run", "workflow/Snakefile")),
    *sorted((ROOT / "workflow" / "rules").glob("*.smk")),
    *sorted((ROOT / "config").rglob("*.yaml")),
    *sorted((ROOT / "profiles").rglob("*.yaml")),
]


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def find_links(document: Path) -> Iterator[tuple[Path, str]]:
    """The file and the anchor of each relative link."""
    text = re.sub(r"```.*?```", "", document.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not re.match(r"[a-z]+:", target):
            path, _, anchor = target.partition("#")
            yield (document.parent / path if path else document).resolve(), anchor


def list_anchors(document: Path) -> set[str]:
    """The anchors that GitHub gives to the headings: lower case, without punctuation, dashes for spaces."""
    text = re.sub(r"```.*?```", "", document.read_text(encoding="utf-8"), flags=re.DOTALL)
    headings = re.findall(r"^#+ +(.+?) *$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_every_relative_link_leads_to_a_file_and_to_a_heading(document: Path) -> None:
    for path, anchor in find_links(document):
        assert path.exists(), f"{name_of(document)} links to {path}"
        if anchor:
            assert anchor in list_anchors(path), f"{name_of(document)} links to #{anchor}"


def test_links_and_anchors_are_found() -> None:
    links = [link for document in DOCUMENTS for link in find_links(document)]
    assert len(links) > 30
    assert any(anchor for _, anchor in links)


@pytest.mark.parametrize("document", NAMING, ids=name_of)
def test_every_module_and_page_that_a_document_names_exists(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    for path in re.findall(r"(?<![\w/.])((?:clhd|tests|benchmarks|docs)/[\w/.-]*\.(?:py|md|html|yaml))\b", text):
        assert (ROOT / path).exists(), f"{name_of(document)} names {path}"


def test_every_constant_that_a_document_names_stands_in_the_code() -> None:
    files = [path for folder in ("clhd", "tests") for path in (ROOT / folder).rglob("*.py")]
    code = "".join(path.read_text(encoding="utf-8") for path in files if path != Path(__file__))
    for document in sorted((ROOT / "docs").rglob("*.md")):
        for constant in re.findall(r"`(_?[A-Z]+(?:_[A-Z]+)+)`", document.read_text(encoding="utf-8")):
            assert re.search(rf"\b{constant}\b", code), f"{name_of(document)} names {constant}"


def test_every_parameter_of_a_system_has_a_row_with_the_words_that_it_takes() -> None:
    pages = [ROOT / "config" / "README.md", *sorted((ROOT / "docs" / "systems").glob("*.md"))]
    rows = [line.split("|") for page in pages for line in page.read_text(encoding="utf-8").splitlines() if "|" in line]
    systems = {name: find_system(name) for name in list_systems()}
    missing = [
        f"{system}: {name}"
        for system, declared in systems.items()
        for name, parameter in declared.parameters.items()
        if not any(f"`{name}`" in row[1] and all(word in row[2] for word in parameter.choices) for row in rows)
    ]
    assert missing == []
