"""What an evaluation protocol is, and what it is given."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from guidance.data import GuidanceDataModule
from guidance.models import Classifier


@dataclass(frozen=True)
class ComparedModel:
    """One of the models that a protocol compares.

    Attributes:
        name: In tables and figures; each model has its own.
        classifier: In evaluation mode, its parameters frozen.
        weights: SHA-256 of the state dict.
        own_head: Whether its classes are those of the weights that it came with, not of the data set.
    """

    name: str
    classifier: Classifier
    weights: str
    own_head: bool = False


@dataclass(frozen=True)
class Evaluation:
    """What is evaluated, on what, and where to.

    Attributes:
        models: At least one, on ``device``.
        datamodule: The data set that the models share.
        split: ``val`` or ``test``.
        seed: All randomness derives from it.
        output_dir: The folder of all results. What an interrupted evaluation left there is used.
        device: Of models and images.
    """

    models: Sequence[ComparedModel]
    datamodule: GuidanceDataModule
    split: str
    seed: int
    output_dir: Path
    device: torch.device


class Protocol(ABC):
    """A way to judge attributions. A new protocol is one subclass in one file, and one yaml."""

    @abstractmethod
    def run(self, evaluation: Evaluation) -> dict[str, Any]:
        """Judge, write files, figures and tables.

        Returns:
            What ``results.json`` is to hold: plain data.

        Raises:
            InputError: If the models, the data and the options do not fit together.
        """
