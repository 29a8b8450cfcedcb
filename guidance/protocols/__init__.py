"""Protocols that judge attributions, not models, and say whether a map is to be trusted."""

from guidance.protocols.deletion import Deletion
from guidance.protocols.difull import DiFull
from guidance.protocols.dipart import DiPart
from guidance.protocols.grid_protocol import GridProtocol
from guidance.protocols.gridpg import GridPG
from guidance.protocols.pointing import Pointing
from guidance.protocols.protocol import ComparedModel, Evaluation, Protocol
from guidance.protocols.randomization import Randomization

__all__ = [
    "ComparedModel",
    "Deletion",
    "DiFull",
    "DiPart",
    "Evaluation",
    "GridPG",
    "GridProtocol",
    "Pointing",
    "Protocol",
    "Randomization",
]
