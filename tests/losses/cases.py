"""One of each loss, and small batches that every loss must survive."""

import torch

import circlet

# The mean over the anchors that have a positive and a negative, and at home among the samples of a batch.
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
    "nt_xent": circlet.NTXentLoss(),
    "supcon": circlet.SupConLoss(),
    "nca": circlet.NCALoss(),
    "proxy_nca": circlet.ProxyNCALoss(),
    "lifted": circlet.LiftedStructureLoss(),
    "triplet": circlet.TripletLoss(),
    "soft_margin_triplet": circlet.SoftMarginTripletLoss(),
    "multi_similarity": circlet.MultiSimilarityLoss(),
    # In evaluation mode: without moving their state on from call to call.
    "adaface": circlet.AdaFaceLoss().eval(),
    "magface": circlet.MagFaceLoss(),
    "curricular_face": circlet.CurricularFaceLoss().eval(),
}
# A positive that beats no negative has no triplet, so that some valid anchors have a loss of 0.
TRIPLETS = {"semi_hard_triplet": circlet.SemiHardTripletLoss()}
# Also anchors with a positive or a negative alone have a loss.
ONE_SIDED = {
    "contrastive": circlet.ContrastiveLoss(),
    "margin": circlet.MarginLoss(),
    "p2s_grad": circlet.P2SGradLoss(),
    "multi_label": circlet.MultiLabelLoss(),
}
# They look within classes of several references, so that the labels cannot be a mask.
CENTRES = {"soft_triple": circlet.SoftTripleLoss(), "subcenter_arcface": circlet.SubCenterArcFaceLoss()}
# The references are the anchors.
PROXIES = {"proxy_anchor": circlet.ProxyAnchorLoss()}

EVERY_LOSS = {**LOSSES, **TRIPLETS, **ONE_SIDED, **CENTRES, **PROXIES}


def with_reduction(loss, reduction):
    return type(loss)(**loss.hyper_parameters, reduction=reduction).train(loss.training)


def batch(num_classes=5, per_class=3, dim=8, seed=0, dtype=torch.float64, spread=1.0):
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(num_classes, dim, generator=generator, dtype=dtype)
    labels = torch.arange(num_classes).repeat_interleave(per_class)
    noise = torch.randn(len(labels), dim, generator=generator, dtype=dtype)
    return centres[labels] + spread * noise, labels
