"""One of each loss, and small batches that every loss must survive."""

import torch

import circlet

LOSSES = {
    "unified": circlet.UnifiedLoss(margin=0.2, gamma=16.0),
    "circle": circlet.CircleLoss(margin=0.4, gamma=80.0),
    "circle_face": circlet.CircleLoss(margin=0.25, gamma=256.0),
    "am_softmax": circlet.AMSoftmaxLoss(),
    "arcface": circlet.ArcFaceLoss(),
    "normface": circlet.NormFaceLoss(),
    "softmax": circlet.SoftmaxLoss(),
    "n_pair": circlet.NPairLoss(),
    "info_nce": circlet.InfoNCELoss(),
    "lifted": circlet.LiftedStructureLoss(),
    "triplet": circlet.TripletLoss(),
    "multi_similarity": circlet.MultiSimilarityLoss(),
}


def with_reduction(loss, reduction):
    return type(loss)(**loss.hyper_parameters, reduction=reduction)


def batch(num_classes=5, per_class=3, dim=8, seed=0, dtype=torch.float64, spread=1.0):
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(num_classes, dim, generator=generator, dtype=dtype)
    labels = torch.arange(num_classes).repeat_interleave(per_class)
    noise = torch.randn(len(labels), dim, generator=generator, dtype=dtype)
    return centres[labels] + spread * noise, labels
