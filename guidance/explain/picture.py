"""The picture of one explained image."""

from collections.abc import Sequence
from pathlib import Path

import torch

from guidance.explain.evidence import Evidence, Explanation
from guidance.explain.subject import Subject
from guidance.figures import ExplanationCell, ExplanationRow, draw_explanation

_TITLE_LENGTH = 60


def draw(path: Path, subject: Subject, explanations: Sequence[Explanation]) -> None:
    """Draw an image, its boxes and each class's evidence, one row per explanation.

    Args:
        path: The PNG to write.
        subject: The image.
        explanations: Of the same classes.
    """
    image = subject.shown()
    height, width = subject.size
    boxes = subject.boxes * torch.tensor([image.shape[2] / width, image.shape[1] / height] * 2)
    everything = [entry for one in explanations for entry in one.evidence]
    rows = []
    for one in explanations:
        cells = [
            ExplanationCell(
                attribution=one.maps[i],
                boxes=boxes[subject.boxes_of(entry.class_name)],
                caption=_caption(entry, subject.outside),
                rgba=None if one.rgba is None else one.rgba[i],
            )
            for i, entry in enumerate(one.evidence)
        ]
        rows.append(ExplanationRow(_row_title(one.evidence[0], everything), cells))
    names = [entry.class_name for entry in explanations[0].evidence]
    title = subject.name if len(subject.name) <= _TITLE_LENGTH else f"…{subject.name[-_TITLE_LENGTH:]}"
    draw_explanation(path, image, boxes, subject.box_names, names, rows, title)


def _row_title(entry: Evidence, everything: Sequence[Evidence]) -> str:
    """Return what tells a row from the others."""
    model = entry.model if any(other.model != entry.model for other in everything) else ""
    layer = f"at {entry.layer}" if any(other.layer != entry.layer for other in everything) else ""
    return "\n".join(part for part in (model, layer) if part)


def _caption(entry: Evidence, outside: bool) -> str:
    caption = f"p = {entry.probability:.2f}"
    if entry.positive <= 0:
        return f"{caption}, no evidence"
    if entry.share_inside is None:
        return caption
    return f"{caption}, {entry.share_inside:.0%} {'outside' if outside else 'inside'}"


def picture_names(names: Sequence[str]) -> list[str]:
    """Return a file name for each image's picture: the image's, with its suffix where needed to tell apart.

    Args:
        names: Of images, paths with ``/``.
    """
    flat = [name.replace("/", "-") for name in names]
    stems = [str(Path(name).with_suffix("")) for name in flat]
    return [f"{stem if stems.count(stem) == 1 else name}.png" for name, stem in zip(flat, stems, strict=True)]
