r"""Numbers of equations: a formula with ``\tag{3.1}`` is equation (3.1) of its page; "(3.1)" in its text leads there.

GitHub shows the same Markdown, where the tag is all there is. A reference to an equation that does not exist is a
warning, in every section that has numbered equations: elsewhere "(1.8)" is a number.
"""

import re

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform
from sphinx.util import logging

_TAG = re.compile(r"\s*\\tag\{([\d.]+)\}")
_REFERENCE = re.compile(r"\((\d+\.\d+)\)")
_LOGGER = logging.getLogger(__name__)


def _section_of(number: str) -> str:
    return number.partition(".")[0]


class NumberEquations(SphinxTransform):
    """Takes the tags out of the formulas, and makes anchors and links of them."""

    default_priority = 300

    def apply(self) -> None:
        found = self._number_formulas()
        if found:
            for text in list(self.document.findall(nodes.Text)):
                self._link_references(text, found)

    def _number_formulas(self) -> dict[str, str]:
        """The anchor of each number."""
        found: dict[str, str] = {}
        for formula in list(self.document.findall(nodes.math_block)):
            tags = _TAG.findall(formula.astext())
            if not tags:
                continue
            number = tags[0]
            if len(tags) > 1 or number in found:
                _LOGGER.warning("equation (%s): a formula has one tag, and a tag one formula", number, location=formula)
            found[number] = f"equation-{number.replace('.', '-')}"
            formula[:] = [nodes.Text(_TAG.sub("", formula.astext()))]
            formula.update_basic_atts({"ids": [found[number]]})
            formula["number"] = number
            self.document.note_explicit_target(formula)
        return found

    def _link_references(self, text: nodes.Text, found: dict[str, str]) -> None:
        if not isinstance(text.parent, nodes.paragraph | nodes.emphasis | nodes.strong | nodes.entry):
            return
        pieces: list[nodes.Node] = []
        end = 0
        for match in _REFERENCE.finditer(text):
            if match[1] in found:
                pieces += [nodes.Text(text[end : match.start()])]
                pieces += [nodes.reference("", match[0], internal=True, refid=found[match[1]])]
                end = match.end()
            elif any(_section_of(number) == _section_of(match[1]) for number in found):
                _LOGGER.warning("there is no equation %s on this page", match[0], location=text.parent)
        if pieces:
            text.parent.replace(text, [*pieces, nodes.Text(text[end:])])


def setup(app: Sphinx) -> dict[str, bool]:
    """Join Sphinx."""
    app.add_transform(NumberEquations)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
