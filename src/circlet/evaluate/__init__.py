"""Evaluation under the field's own protocols: plain functions on tensors, no trainer needed.

`tasks` has the metrics of each task by the names of result.json.
"""

from circlet.evaluate.expansion import expand_queries
from circlet.evaluate.identification import IdentificationMetrics, identification
from circlet.evaluate.reid import ReidMetrics, reid, reid_from_distances
from circlet.evaluate.rerank import rerank
from circlet.evaluate.retrieval import RetrievalMetrics, retrieval
from circlet.evaluate.templates import TemplateMetrics, template_embeddings, template_verification
from circlet.evaluate.verification import VerificationMetrics, verification, video_embeddings

__all__ = [
    "IdentificationMetrics",
    "ReidMetrics",
    "RetrievalMetrics",
    "TemplateMetrics",
    "VerificationMetrics",
    "expand_queries",
    "identification",
    "reid",
    "reid_from_distances",
    "rerank",
    "retrieval",
    "template_embeddings",
    "template_verification",
    "verification",
    "video_embeddings",
]
