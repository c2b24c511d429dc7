"""Evaluation under the field's own protocols: plain functions on tensors, no trainer needed."""

from circlet.evaluate.expansion import expand_queries
from circlet.evaluate.reid import ReidMetrics, reid, reid_from_distances
from circlet.evaluate.rerank import rerank
from circlet.evaluate.retrieval import RetrievalMetrics, retrieval

__all__ = ["ReidMetrics", "RetrievalMetrics", "expand_queries", "reid", "reid_from_distances", "rerank", "retrieval"]
