"""MkDocs hooks that make links into the repository work on the site, too.

On the code host, guides link other pages, README.md and source files by relative paths.
Linked files outside docs/ become pages of the site: prose as it is, source files as
code blocks.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import griffe
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
# Resources that a browser loads by itself, as opposed to links.
_FOREIGN = re.compile(
    r"""<(?:script|img|iframe|link)[^>]+(?:src|href)=["']?(https?:)?//"""
)
_LANGUAGES = {".py": "python", ".c": "c", ".mjs": "javascript", ".bzl": "python"}


class Factories(griffe.Extension):
    """Griffe extension that documents the model factories.

    A function makes them and formats their docstrings, so their signatures and
    docstrings exist only after import. Everything else is read from the source.
    """

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        """Replaces the factories, which are attributes in the source, by functions."""
        if pkg.name == "keras_efficientnet":
            imported = griffe.inspect("efficientnet", parent=pkg)
            module = pkg["efficientnet"]
            for name, member in imported.members.items():
                is_function = not member.is_alias and member.is_function
                if is_function and module.members[name].is_attribute:
                    module.set_member(name, member)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds pages for files outside docs/."""
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
    """Rewrites links to point to pages of the site."""
    folder = _folder(page.file.src_uri)
    here = PurePosixPath(page.file.src_uri).parent

    def replace(match: re.Match[str]) -> str:
        target = _resolve(match["path"], folder)
        if target is None:
            return match["path"]  # MkDocs reports the missing file
        return os.path.relpath(_place(target), here)

    return _LINK.sub(replace, markdown)


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Warns about pages that load resources from other hosts."""
    for found in _FOREIGN.finditer(output):
        log.warning("%s loads from another host: %s", page.file.src_uri, found[0])
    return output


def _folder(place: str) -> Path:
    """Returns the folder of the repository file behind a page."""
    return ROOT if place in PROSE.values() else (ROOT / "docs" / place).parent


def _linked(markdown: str, folder: Path) -> Iterator[str]:
    for match in _LINK.finditer(markdown):
        if target := _resolve(match["path"], folder):
            yield target


def _resolve(link: str, folder: Path) -> str | None:
    """Returns the path of a linked file relative to the repository's root."""
    target = Path(os.path.normpath(folder / link))
    if target.is_file() and target.is_relative_to(ROOT):
        return target.relative_to(ROOT).as_posix()
    return None


def _place(target: str) -> str:
    """Returns the path of a repository file on the site."""
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
