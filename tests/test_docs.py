"""Documents: their links, the pages of the site, and the README's size and language."""

import ast
import os
import pathlib
import re

import pytest

from tests.conftest import ROOT

PAGES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("benchmarks/*.md")])
}
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")


def without_code(text):
    """A page without fenced code, indented code and code spans."""
    lines = [line for line in FENCE.sub("", text).splitlines() if not line.startswith("    ")]
    return re.sub(r"`[^`\n]*`", "", "\n".join(lines))


def anchors(text):
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(page, text):
    for link in LINK.findall(without_code(text)):
        path, _, anchor = link.partition("#")
        if re.match(r"https?:", path):
            continue
        target = ((ROOT / page).parent / path).resolve() if path else ROOT / page
        if not target.exists() or (anchor and anchor not in anchors(target.read_text(encoding="utf-8"))):
            yield link


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[a](docs/running.md#start) [b](#status) [c](https://example.org)", []),
        ("[a](docs/walking.md)", ["docs/walking.md"]),
        ("[a](docs/running.md#stop)", ["docs/running.md#stop"]),
        ("`[a](gone.md)`\n\n    [a](gone.md)\n\n```\n[a](gone.md)\n```\n", []),
    ],
)
def test_broken_links_are_seen(text, expected):
    assert list(broken_links("README.md", text)) == expected


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    assert list(broken_links(page, PAGES[page])) == []


def pages_from_outside():
    """The table PAGES of the site's hooks, read without the extra `docs`."""
    source = (ROOT / "docs" / "site_hooks.py").read_text(encoding="utf-8")
    tables = [node.value for node in ast.parse(source).body if isinstance(node, ast.Assign)]
    (found,) = [ast.literal_eval(table) for table in tables if isinstance(table, ast.Dict)]
    return found


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files_that_the_site_has(page):
    outside = pages_from_outside()
    for link in LINK.findall(without_code(PAGES[page])):
        path = link.partition("#")[0]
        if path and not re.match(r"https?:", path):
            target = os.path.normpath(pathlib.PurePosixPath(page).parent / path)
            assert target in outside or target.startswith("docs/"), link


def test_every_page_is_in_the_sites_navigation():
    nav = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:\n")[2].partition("\n\n")[0]
    named = re.findall(r": (\w+)\.md$", nav, re.MULTILINE)
    own = {path.stem for path in (ROOT / "docs").glob("*.md")}
    outside = {pathlib.PurePosixPath(page).stem for page in pages_from_outside().values() if page.endswith(".md")}
    assert own | outside == set(named)
    assert len(named) == len(set(named))


def sentences(text):
    """The sentences of a page's prose: no headings, tables or code."""
    text = re.sub(r"^\|.*$|^#.*$|^!\[.*$", "", without_code(text), flags=re.MULTILINE)
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
    found = re.split(r"[.:?!](?:\s|$)|\n\s*\n", text)
    return [sentence.split() for sentence in found if re.search(r"\w", sentence)]


def test_readme_is_short():
    lines = PAGES["README.md"].splitlines()
    assert len(lines) <= 170
    assert max(len(line) for line in lines if "](" not in line and "`" not in line) <= 100
    assert max(map(len, lines)) <= 120
    assert len(PAGES["README.md"].split()) <= 1300


def test_readme_has_short_sentences_and_few_semicolons():
    found = sentences(PAGES["README.md"])
    assert len(found) > 40
    assert sum(map(len, found)) / len(found) <= 15
    assert sum(word.endswith(";") for sentence in found for word in sentence) <= 3
