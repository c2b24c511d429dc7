"""Evaluation under the field's own protocols: plain functions on tensors, no trainer needed."""

from circlet.evaluate.reid import ReidMetrics, reid, reid_from_distances
from circlet.evaluate.retrieval import RetrievalMetrics, retrieval

__all__ = ["ReidMetrics", "RetrievalMetrics", "reid", "reid_from_distances", "retrieval"]
