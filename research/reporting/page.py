"""The page of a study, in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from keras_efficientnet.common.files import write_text

from .folder import StudyFolder


def write_page(
    folder: StudyFolder, title: str, blocks: Sequence[str], files: Mapping[str, str]
) -> None:
    """Writes report.md.

    Args:
        folder: Of the study.
        title: Of the page.
        blocks: Paragraphs, tables and pictures, in Markdown.
        files: File of the folder -> what is in it; linked at the end.
    """
    known = dict(files) | {folder.settings.name: "what was asked for"}
    linked = [f"- [{name}]({name}): {what}" for name, what in known.items()]
    text = "\n\n".join([f"# {title}", *blocks, "## Files", "\n".join(linked)])
    write_text(folder.report, text + "\n")


def picture(name: str, about: str) -> str:
    """Returns a picture of the folder in Markdown."""
    return f"![{about}]({name})"
