"""Adds files outside of `docs/` to the site, and points links at their pages.

Links in Markdown files are relative to the file, as GitHub follows them; on the site the same files lie elsewhere.
"""

import os
import pathlib
import re

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = pathlib.Path(__file__).parent.parent
# Files of the repository that are pages or downloads, and their place on the site.
PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "benchmarks/RESULTS.md": "results.md",
    "benchmarks/nano_study.md": "nano_study.md",
    "benchmarks/HISTORY.md": "history.md",
    "LICENSE": "LICENSE",
    "examples/quickstart.ipynb": "quickstart.ipynb",
}
SOURCES = {page: source for source, page in PAGES.items()}
LINK = re.compile(r"(\]\()([^)\s:#]+)([^)\s]*\))")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages from outside of `docs/`."""
    for source, page in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Replaces links between files of the repository by links between pages; strict builds find those that are left."""
    place = page.file.src_uri
    folder = pathlib.PurePosixPath(SOURCES.get(place, f"docs/{place}")).parent
    return LINK.sub(lambda link: f"{link[1]}{_on_site(os.path.normpath(folder / link[2]), link[2])}{link[3]}", markdown)


def _on_site(path: str, link: str) -> str:
    """The place of a file of the repository on the site; the link as it is, if the file is not there."""
    if path in PAGES:
        return PAGES[path]
    return path.removeprefix("docs/") if path.startswith("docs/") else link
