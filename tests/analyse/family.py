"""Every loss of the family, with settings under which no gradient of the tests is too small to see."""

import circlet

FAMILY = {
    "circle": circlet.CircleLoss(0.25, 8.0),
    "unified": circlet.UnifiedLoss(0.2, 8.0),
    "am_softmax": circlet.AMSoftmaxLoss(0.35, 8.0),
    "arcface": circlet.ArcFaceLoss(0.5, 8.0),
    "normface": circlet.NormFaceLoss(8.0),
    "info_nce": circlet.InfoNCELoss(0.2),
    "softmax": circlet.SoftmaxLoss(),
    "n_pair": circlet.NPairLoss(),
    "lifted_structure": circlet.LiftedStructureLoss(0.5, 8.0),
    "triplet": circlet.TripletLoss(0.3),
    "multi_similarity": circlet.MultiSimilarityLoss(),
}
