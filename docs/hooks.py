"""Makes of the guides a site in which the links to the repository work, too.

On the code host a guide may link a page, README.md or any source file by its relative
path. The site gets those that lie outside docs/ as pages: prose as it is, sources in a
frame of code.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

log = logging.getLogger("mkdocs.hooks")

ROOT = Path(__file__).parents[1]
PROSE = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
}
_LINK = re.compile(r"(?<=\]\()(?P<path>[^)#:\s]+)(?=(#[^)\s]*)?\))")
# What a browser asks for by itself, not what a reader may follow.
_FOREIGN = re.compile(
    r"""<(?:script|img|iframe|link)[^>]+(?:src|href)=["']?(https?:)?//"""
)
_LANGUAGES = {".py": "python", ".c": "c", ".mjs": "javascript", ".bzl": "python"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages that are not files in docs/."""
    for name, place in PROSE.items():
        text = (ROOT / name).read_text()
        files.append(File.generated(config, place, content=text))
    sources = set()
    for file in files.documentation_pages():
        folder = _folder(file.src_uri)
        for found in _linked(file.content_string, folder):
            sources.add(found)
    for source in sorted(sources - PROSE.keys()):
        if not source.startswith("docs/"):
            files.append(_source_page(source, config))
    return files


def on_page_markdown(
    markdown: str, page: Page, config: MkDocsConfig, files: Files
) -> str:
    """Points links at the pages of the site."""
    folder = _folder(page.file.src_uri)
    here = PurePosixPath(page.file.src_uri).parent

    def replace(match: re.Match[str]) -> str:
        target = _resolve(match["path"], folder)
        if target is None:
            return match["path"]  # MkDocs tells that there is no such file
        return os.path.relpath(_place(target), here)

    return _LINK.sub(replace, markdown)


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Warns of a page that would ask other hosts for anything."""
    for found in _FOREIGN.finditer(output):
        log.warning("%s asks another host: %s", page.file.src_uri, found[0])
    return output


def _folder(place: str) -> Path:
    """Folder of the file in the repository that a page is made of."""
    return ROOT if place in PROSE.values() else (ROOT / "docs" / place).parent


def _linked(markdown: str, folder: Path) -> Iterator[str]:
    for match in _LINK.finditer(markdown):
        if target := _resolve(match["path"], folder):
            yield target


def _resolve(link: str, folder: Path) -> str | None:
    """Path of a linked file from the top of the repository."""
    target = Path(os.path.normpath(folder / link))
    if target.is_file() and target.is_relative_to(ROOT):
        return target.relative_to(ROOT).as_posix()
    return None


def _place(target: str) -> str:
    """Where the site has a file of the repository."""
    if target in PROSE:
        return PROSE[target]
    if target.startswith("docs/"):
        return target.removeprefix("docs/")
    return f"source/{target}.md"


def _source_page(source: str, config: MkDocsConfig) -> File:
    text = (ROOT / source).read_text()
    language = _LANGUAGES.get(Path(source).suffix, "text")
    content = f"# `{source}`\n\n````{language}\n{text}\n````\n"
    return File.generated(
        config,
        _place(source),
        content=content,
        inclusion=InclusionLevel.NOT_IN_NAV,
    )
