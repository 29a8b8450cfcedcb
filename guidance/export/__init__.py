"""A trained classifier as files that outlive the training program: safetensors and JSON."""

from guidance.export.exported import Exported
from guidance.export.reading import load_exported
from guidance.export.writing import write_exported

__all__ = ["Exported", "load_exported", "write_exported"]
