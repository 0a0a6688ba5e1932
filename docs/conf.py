"""Sphinx configuration of the documentation; every warning is an error (``./dev docs``)."""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

project = "pytest-opendal"
author = "the pytest-opendal developers"
project_copyright = author
release = metadata.version("pytest-opendal")
version = release

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "tables"]
exclude_patterns = ["_build"]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

# Docstrings write `name` for anything that is code.
default_role = "code"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
autodoc_member_order = "bysource"
add_module_names = False

html_theme = "furo"
html_title = f"pytest-opendal {release}"
