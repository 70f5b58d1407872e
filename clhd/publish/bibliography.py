"""`compose_bibliography`: clhd, the letter whose system it studies, and the sources of the systems, as BibTeX."""

from importlib.metadata import version
from pathlib import Path

from clhd.publish.tex import escape_tex
from clhd.sweep.results.summary_reader import read_summary
from clhd.sweep.spec.config import ConfigContent
from clhd.sweep.spec.stages import stage_path

# As CITATION.cff says it, which an installed clhd does not have.
_CLHD = """@misc{{clhd,
  author = {{{{The clhd developers}}}},
  title = {{{{clhd: the high-dimensional limit of contrastive learning, simulated and solved}}}},
  version = {{{version}}}
}}
"""
_LETTER = """@article{MengWang2024,
  author = {Meng, L. and Wang, C.},
  title = {{Training Dynamics of Nonlinear Contrastive Learning Model in the High Dimensional Limit}},
  journal = {arXiv:2406.06909},
  year = {2024}
}
"""


def compose_bibliography(config: ConfigContent, results: Path) -> str:
    """Return BibTeX; a source that a system names in one text is a ``@misc`` with this text as its title."""
    sources: dict[str, str] = {}
    for name in config.experiments:
        path = stage_path(results / name, "summary")
        if path.is_dir():
            summary = read_summary(path)
            system = str(summary.experiment["system"]).rpartition(":")[2]
            for number, source in enumerate(summary.declaration.sources, 1):
                sources.setdefault(source, f"{system}{number}")
    others = [f"@misc{{{key},\n  title = {{{{{escape_tex(source)}}}}}\n}}\n" for source, key in sources.items()]
    return "\n".join([_CLHD.format(version=version("clhd")), _LETTER, *others])
