"""Markdown report of a study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from keras_efficientnet.common.files import write_text

from .folder import StudyFolder


def write_page(
    folder: StudyFolder, title: str, blocks: Sequence[str], files: Mapping[str, str]
) -> None:
    """Writes report.md.

    Args:
        folder: Folder of the study.
        title: Title of the report.
        blocks: Paragraphs, tables and pictures in Markdown.
        files: File name -> description; linked at the end.
    """
    known = dict(files) | {folder.settings.name: "the settings"}
    linked = [f"- [{name}]({name}): {what}" for name, what in known.items()]
    text = "\n\n".join([f"# {title}", *blocks, "## Files", "\n".join(linked)])
    write_text(folder.report, text + "\n")


def picture(name: str, about: str) -> str:
    """Returns the Markdown of a picture in the folder."""
    return f"![{about}]({name})"
