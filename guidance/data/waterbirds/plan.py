"""What Waterbirds' builder decides: each image's bird, split and background."""

from collections.abc import Mapping, Sequence

import torch

from guidance.data.confounder import assign_backgrounds
from guidance.data.waterbirds.metadata import SPLITS, MetadataRow
from guidance.randomness import permutation

WATERBIRDS = (
    # seabirds
    "albatross", "auklet", "cormorant", "frigatebird", "fulmar", "gull", "jaeger", "kittiwake", "pelican",
    "puffin", "tern",
    # waterfowl
    "gadwall", "grebe", "mallard", "merganser", "guillemot", "pacific_loon",
)  # fmt: skip
"""Parts of the species' names that make a bird a waterbird."""

VAL_FRACTION = 0.2
"""The part of CUB's official training images that validate."""

TEST_CONFOUNDER = 0.5

# Set apart from the streams of guidance.data.splits.
_VAL, _BACKGROUND, _PLACE = -3, -4, -5


def is_waterbird(file_name: str) -> bool:
    """Tell a waterbird by its folder, such as ``004.Groove_billed_Ani``, as the released Waterbirds does.

    Any part of the species' name counts. Three landbirds are therefore waterbirds, in the release and here,
    for the ``tern`` in their names: Eastern Towhee, Western Meadowlark and Western Wood Pewee. Without them
    the groups would not have the released sizes.
    """
    species = file_name.partition("/")[0].partition(".")[2].lower()
    return any(name in species for name in WATERBIRDS)


def plan(
    images: Mapping[str, str],
    training: Mapping[str, bool],
    places: Sequence[Sequence[str]],
    confounder: float,
    val_confounder: float,
    seed: int,
) -> list[MetadataRow]:
    """Decide what is composed; nothing but the arguments matters.

    CUB's official test images are the test split; of its official training images a fifth validates. In each
    split and for each kind of bird an exact part of the images gets the bird's own background, see
    :func:`~guidance.data.confounder.assign_backgrounds`. Each place is used once, or as seldom as possible if
    there are too few.

    Args:
        images: CUB's file name of each image number.
        training: Whether each file name is an official training image.
        places: The land backgrounds and the water backgrounds, at least one of each.
        confounder: How strongly background and bird agree in training, in [0, 1].
        val_confounder: The same in validation; in the test split it is 0.5.
        seed: Any integer.

    Returns:
        A row for each image, in the order of ``images``.
    """
    numbers, names = list(images), list(images.values())
    birds = torch.tensor([int(is_waterbird(name)) for name in names])
    splits = torch.tensor([SPLITS.index("train" if training[name] else "test") for name in names])
    official = (splits == SPLITS.index("train")).nonzero().flatten()
    chosen = permutation(len(official), seed, _VAL)[: round(VAL_FRACTION * len(official))]
    splits[official[chosen]] = SPLITS.index("val")

    kinds = torch.zeros_like(birds)
    for split, strength in enumerate((confounder, val_confounder, TEST_CONFOUNDER)):
        own = splits == split
        kinds[own] = assign_backgrounds(birds[own], strength, seed, _BACKGROUND, split)
    place_files = [""] * len(names)
    for kind, files in enumerate(places):
        order = permutation(len(files), seed, _PLACE, kind).tolist()
        for position, index in enumerate((kinds == kind).nonzero().flatten().tolist()):
            place_files[index] = files[order[position % len(files)]]
    columns = (names, birds.tolist(), kinds.tolist(), splits.tolist(), numbers, place_files)
    return [
        MetadataRow(name, bird, kind, split, number=number, place_file=place_file)
        for name, bird, kind, split, number, place_file in zip(*columns, strict=True)
    ]
