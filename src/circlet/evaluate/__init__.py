"""Evaluation under the field's own protocols: plain functions on tensors, no trainer needed.

`tasks` has the metrics of each task by the names of result.json.
"""

from circlet.evaluate.expansion import expand_queries
from circlet.evaluate.identification import IdentificationMetrics, identification
from circlet.evaluate.intervals import Interval, class_interval, class_t_interval
from circlet.evaluate.reid import ReidMetrics, reid, reid_from_distances
from circlet.evaluate.rerank import rerank
from circlet.evaluate.retrieval import QueryMetrics, RetrievalMetrics, retrieval, retrieval_by_query
from circlet.evaluate.templates import TemplateMetrics, template_embeddings, template_verification
from circlet.evaluate.verification import VerificationMetrics, verification, video_embeddings

__all__ = [
    "IdentificationMetrics",
    "Interval",
    "QueryMetrics",
    "ReidMetrics",
    "RetrievalMetrics",
    "TemplateMetrics",
    "VerificationMetrics",
    "class_interval",
    "class_t_interval",
    "expand_queries",
    "identification",
    "reid",
    "reid_from_distances",
    "rerank",
    "retrieval",
    "retrieval_by_query",
    "template_embeddings",
    "template_verification",
    "verification",
    "video_embeddings",
]
