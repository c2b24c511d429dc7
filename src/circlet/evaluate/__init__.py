"""Evaluation under the field's own protocols: plain functions on tensors, no trainer needed."""

from circlet.evaluate.retrieval import RetrievalMetrics, retrieval

__all__ = ["RetrievalMetrics", "retrieval"]
