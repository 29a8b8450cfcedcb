"""Reading every image and mask of a split once, and keeping none."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

from rich.console import Console
from rich.progress import Progress
from torch.utils.data import DataLoader, Dataset

from guidance.data.prepared import PreparedDataset
from guidance.errors import InputError

_CHUNK = 16


@dataclass(frozen=True)
class Reading:
    """What became of one image.

    Attributes:
        problem: Why the image or its masks cannot be read, naming the file; "" if they can.
        masked: Whether a present class has a segmentation mask.
        digest: The same for two images if their pixels, at the size they are trained with, are the same; ""
            for one that cannot be read.
    """

    problem: str
    masked: bool = False
    digest: str = ""


class _Reader(Dataset[Reading]):
    def __init__(self, prepared: PreparedDataset) -> None:
        self._prepared = prepared

    def __len__(self) -> int:
        return len(self._prepared)

    def __getitem__(self, index: int) -> Reading:
        dataset = self._prepared.dataset
        try:
            sample = self._prepared[index]
            classes = sample.run_classes
            # A split that is not guided by masks is prepared without them.
            if dataset.has_masks and not len(classes):
                classes = dataset.masks(index)[0]
        except (InputError, OSError) as error:
            return Reading(str(error))
        digest = blake2b(sample.image.numpy().tobytes(), digest_size=8).hexdigest()
        return Reading("", bool(sample.labels[classes].any()), digest)


def read_images(prepared: PreparedDataset, num_workers: int, description: str) -> list[Reading]:
    """Read each image and its masks, as training would and without stopping at a broken one.

    Args:
        prepared: The split.
        num_workers: Worker processes.
        description: Stands beside the progress bar.

    Returns:
        One reading for each image, in order.
    """
    loader: DataLoader[Reading] = DataLoader(
        _Reader(prepared), batch_size=_CHUNK, num_workers=num_workers, collate_fn=_as_it_is
    )
    readings: list[Reading] = []
    console = Console(stderr=True)
    with Progress(transient=True, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(description, total=len(prepared))
        for chunk in loader:
            readings += chunk
            progress.advance(task, len(chunk))
    return readings


def _as_it_is(chunk: Sequence[Reading]) -> Sequence[Reading]:
    return chunk
