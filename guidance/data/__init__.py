"""Data: images with labels and boxes, from the data sets to batches on many devices."""

from guidance.data.annotation import Annotation, AnnotationTable, Skipped
from guidance.data.augmentation import Augmentation
from guidance.data.batch import Batch
from guidance.data.coco import COCO
from guidance.data.datamodule import GuidanceDataModule
from guidance.data.folder import Folder
from guidance.data.image_dataset import ImageDataset
from guidance.data.prepared import PreparedDataset, PreparedSample, collate
from guidance.data.sampler import EvaluationSampler, TrainingBatchSampler
from guidance.data.shapes import Shapes
from guidance.data.shapes_spurious import ShapesSpurious
from guidance.data.splits import annotated_subset, seeded_split
from guidance.data.voc import VOC
from guidance.data.waterbirds import Waterbirds

__all__ = [
    "COCO",
    "VOC",
    "Annotation",
    "AnnotationTable",
    "Augmentation",
    "Batch",
    "EvaluationSampler",
    "Folder",
    "GuidanceDataModule",
    "ImageDataset",
    "PreparedDataset",
    "PreparedSample",
    "Shapes",
    "ShapesSpurious",
    "Skipped",
    "TrainingBatchSampler",
    "Waterbirds",
    "annotated_subset",
    "collate",
    "seeded_split",
]
