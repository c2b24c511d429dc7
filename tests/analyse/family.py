"""Every loss of the family, with settings under which no gradient of the tests is too small to see."""

import circlet

FAMILY = {
    "circle": circlet.CircleLoss(margin=0.25, gamma=8.0),
    "unified": circlet.UnifiedLoss(margin=0.2, gamma=8.0),
    "am_softmax": circlet.AMSoftmaxLoss(margin=0.35, gamma=8.0),
    "arcface": circlet.ArcFaceLoss(margin=0.5, gamma=8.0),
    "normface": circlet.NormFaceLoss(gamma=8.0),
    "info_nce": circlet.InfoNCELoss(temperature=0.2),
    "softmax": circlet.SoftmaxLoss(),
    "n_pair": circlet.NPairLoss(),
    "lifted_structure": circlet.LiftedStructureLoss(margin=0.5, gamma=8.0),
    "triplet": circlet.TripletLoss(margin=0.3),
    "multi_similarity": circlet.MultiSimilarityLoss(),
}
