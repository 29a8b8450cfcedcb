"""A folder of labelled images in one of the usual formats, for training without any code."""

from guidance.data.folder.dataset import Folder

__all__ = ["Folder"]
