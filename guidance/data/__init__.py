"""Data: images with labels and boxes, from the data sets to batches on many devices."""

from guidance.data.batch import Batch
from guidance.data.datamodule import GuidanceDataModule
from guidance.data.prepared import PreparedDataset, PreparedSample, collate
from guidance.data.sample import ImageDataset, Sample
from guidance.data.sampler import EvaluationSampler, TrainingBatchSampler
from guidance.data.shapes import Shapes
from guidance.data.splits import annotated_subset, seeded_split
from guidance.data.voc import VOC

__all__ = [
    "VOC",
    "Batch",
    "EvaluationSampler",
    "GuidanceDataModule",
    "ImageDataset",
    "PreparedDataset",
    "PreparedSample",
    "Sample",
    "Shapes",
    "TrainingBatchSampler",
    "annotated_subset",
    "collate",
    "seeded_split",
]
