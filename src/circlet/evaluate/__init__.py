"""Evaluation under the field's own protocols: plain functions on tensors, no trainer needed.

| file                  | what it is                                                                       |
|-----------------------|----------------------------------------------------------------------------------|
| retrieval             | Recall@K, Precision@K, R-Precision, MAP@R, MRR                                   |
| reid                  | CMC, mAP, mINP across cameras; `rerank`, `expansion`: work on the embeddings     |
| verification          | accuracy and TAR@FAR of pairs (LFW, ...); `templates`: of sets of images (IJB-C) |
| identification        | rank accuracy among distractors (MegaFace)                                       |
| open_set              | who is it, or nobody known: FPIR, FNIR, DET, AUROC, BAKS, BAUS; by class_scores  |
| threshold, thresholds | similarities that keep a wanted FPIR or FAR, chosen on validation classes         |
| accepting             | the lowest threshold that lets in no more than so many                           |
| pair_scores           | the pairs of a set of images, where thresholds lie                               |
| intervals             | over classes, of means; open_set_intervals, pair_intervals: of rates             |
| student               | Student's t, without SciPy                                                        |
| neighbours, ranks, roc | what these share: nearest neighbours, ranks of positives, TAR at FAR            |
| spread, spread_neighbours | rows that lie on several ranks, none of which holds all                      |
| checks, asked         | input checked                                                                    |
| tasks                 | the metrics of each task by the names of result.json, and what each query found  |
"""

from circlet.evaluate.expansion import expand_queries
from circlet.evaluate.identification import IdentificationMetrics, identification
from circlet.evaluate.intervals import Interval, class_interval, class_intervals, class_t_interval
from circlet.evaluate.open_set import (
    OpenSetMetrics,
    OpenSetScores,
    OperatingPoint,
    leave_one_class_out,
    open_set,
    open_set_metrics,
)
from circlet.evaluate.open_set_intervals import OpenSetIntervals, open_set_intervals
from circlet.evaluate.reid import ReidMetrics, reid, reid_from_distances
from circlet.evaluate.rerank import rerank
from circlet.evaluate.retrieval import QueryMetrics, RetrievalMetrics, retrieval, retrieval_by_query
from circlet.evaluate.templates import TemplateMetrics, template_embeddings, template_verification
from circlet.evaluate.thresholds import Threshold, Thresholds, choose_thresholds
from circlet.evaluate.verification import VerificationMetrics, verification, video_embeddings

__all__ = [
    "IdentificationMetrics",
    "Interval",
    "OpenSetIntervals",
    "OpenSetMetrics",
    "OpenSetScores",
    "OperatingPoint",
    "QueryMetrics",
    "ReidMetrics",
    "RetrievalMetrics",
    "TemplateMetrics",
    "Threshold",
    "Thresholds",
    "VerificationMetrics",
    "choose_thresholds",
    "class_interval",
    "class_intervals",
    "class_t_interval",
    "expand_queries",
    "identification",
    "leave_one_class_out",
    "open_set",
    "open_set_intervals",
    "open_set_metrics",
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
