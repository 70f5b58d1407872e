"""Settings of the documentation site: `make docs` builds it into build/docs, and needs no network for that."""

import os
import sys
from importlib.metadata import version as find_version
from importlib.util import find_spec
from pathlib import Path

sys.path.append(str(Path(__file__).parent / "_sphinx"))
# The notebooks type `clhd`: of this environment.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])

project = "clhd"
author = "The clhd developers"
project_copyright = author
version = release = find_version("clhd")
language = "en"
toc_object_entries_show_parents = "hide"

extensions = [
    "docstrings",
    "equations",
    "gallery",
    "links",
    "myst_nb",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx_copybutton",
    "streams",
]
root_doc = "index"
exclude_patterns = ["_sphinx", "figures", "gallery"]
nitpicky = True
default_role = "py:obj"  # `name` in a docstring is a link if clhd has the name
# Other libraries would have to be looked up on the network, and modules within clhd have no page: `clhd.NAME` has to.
nitpick_ignore_regex = [(kind, r"(?!clhd\.\w+$).*") for kind in ("py:class", "py:obj", "py:exc", "py:func")]

# Markdown as GitHub reads it: $..$ and ```math are formulas, and headings have anchors.
myst_enable_extensions = ["deflist", "dollarmath"]
myst_fence_as_directive = ["math"]
myst_heading_anchors = 4
myst_dmath_double_inline = True

# Notebooks run again only if their text has changed; an error ends the build.
nb_execution_mode = "cache"
nb_execution_cache_path = str(Path(__file__).parents[1] / "build" / "notebooks")
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_merge_streams = True

autodoc_typehints = "none"  # the docstrings say them
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
numpydoc_xref_param_type = False

# MathJax comes from a package, with its fonts, and is copied into the site.
_mathjax = Path(str(find_spec("sphinx-mathjax-offline").origin)).parent / "static"
mathjax_path = "mathjax/tex-chtml.js"
mathjax3_config = {"options": {"enableMenu": False}, "chtml": {"scale": 0.95}}

html_theme = "pydata_sphinx_theme"
html_title = f"clhd {release}"
html_static_path = [str(_mathjax), "_sphinx/static"]
html_css_files = ["clhd.css"]
# These pages have no pages below them.
html_sidebars = {name: [] for name in ("index", "tour", "api", "gallery", "glossary", "changelog")}
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "header_links_before_dropdown": 8,
    "navbar_align": "left",
    "show_prev_next": True,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "show_nav_level": 1,
    "navigation_with_keys": False,
}
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
