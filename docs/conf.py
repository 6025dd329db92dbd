"""The documentation site; `make docs` builds it."""
import importlib
import os
import re
import sys
from html import escape
from pathlib import Path

from docutils.nodes import SkipNode
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.util import logging

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import mmvitlin  # noqa: E402
from mmvitlin.compat import detection  # noqa: E402
from mmvitlin.compat.quiet import quiet_imports  # noqa: E402

project, author = 'mmvitlin', 'the mmvitlin authors'
version = release = mmvitlin.__version__
copyright = f'{author}, Apache-2.0'

extensions = ['myst_parser', 'sphinx.ext.autodoc', 'sphinx.ext.napoleon', 'sphinx_copybutton']
exclude_patterns = ['_build']

myst_enable_extensions = ['attrs_block', 'colon_fence', 'dollarmath']
myst_heading_anchors = 3
suppress_warnings = ['myst.header']  # a page that is included starts at its own level

napoleon_use_ivar = True  # fields of named tuples are members too
autodoc_default_options = {'members': True}
autodoc_inherit_docstrings = False  # those of other libraries are in their documentation
autodoc_member_order = 'bysource'
autodoc_preserve_defaults = True
autodoc_typehints_format = 'short'
python_maximum_signature_line_length = 88
python_use_unqualified_type_names = True
if detection.lacking():  # the pages are the same without mmdet and mmcv's compiled ops
    with quiet_imports():
        for name in ('mmseg.models', 'mmseg.datasets', 'mmpretrain.models', 'mmpretrain.datasets'):
            importlib.import_module(name)  # these look for mmdet too, and must not find a mock
    detection.lacking = list
    autodoc_mock_imports = ['mmcv._ext', 'mmdet', 'pycocotools']

html_theme = 'furo'
html_title = f'mmvitlin {release}'
html_static_path = ['_static']
html_css_files = ['site.css']
html_favicon = '_static/favicon.svg'
html_copy_source = html_show_sphinx = False
html_math_renderer = 'mathml'
html_theme_options = dict(
    light_css_variables={'color-brand-primary': '#0b5fa5', 'color-brand-content': '#0b5fa5'},
    dark_css_variables={'color-brand-primary': '#7ab8f5', 'color-brand-content': '#7ab8f5'})
copybutton_prompt_text = r'\$ |>>> |\.\.\. '
copybutton_prompt_is_regexp = True


def mathml(node, as_block: bool) -> str:
    """The formula of a node; one that docutils cannot read is a warning, and shown as it stands."""
    try:
        return tex2mathml(node.astext(), as_block=as_block)
    except MathError as error:
        logging.getLogger(__name__).warning('formula: %s', error, location=node)
        return escape(node.astext())


def _inline(writer, node) -> None:
    writer.body.append(mathml(node, as_block=False))
    raise SkipNode


def _block(writer, node) -> None:
    writer.body.append(f'<div class="equation">{mathml(node, as_block=True)}</div>')
    raise SkipNode


def show_readme(app, page: str, source: list[str]) -> None:
    """Pages of docs/configs show the README of their folder of configs, its links from there."""
    folder, _, name = page.rpartition('/')
    if folder != 'configs':
        return
    home = Path('configs') / ('' if name == 'index' else name)
    pages = {f'configs/{n}/README.md': f'{n}.md'
             for n in ('distill', 'seg', 'det', 'cls', 'recipes')}
    pages['configs/README.md'] = 'index.md'

    def link(match: re.Match) -> str:
        target, _, anchor = match[1].partition('#')
        if '://' in target or not target:
            return match[0]
        target = os.path.normpath(home / target)
        target = pages.get(target) or os.path.relpath(target, 'docs/configs')
        return f']({target}#{anchor})' if anchor else f']({target})'

    text = (ROOT / home / 'README.md').read_text(encoding='utf-8')
    source[0] = re.sub(r'\]\(([^)]+)\)', link, text) + '\n' + source[0]


def setup(app) -> None:
    """Formulas become MathML while the site is built: no script, no network."""
    app.add_html_math_renderer('mathml', (_inline, None), (_block, None))
    app.connect('source-read', show_readme)
