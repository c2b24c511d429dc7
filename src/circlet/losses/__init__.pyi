# For type checkers and editors, which cannot look into the folder as __init__.py does. A loss that is not listed works
# all the same, as Any.
from typing import Any

from circlet.losses.adaface import AdaFaceLoss as AdaFaceLoss
from circlet.losses.am_softmax import AMSoftmaxLoss as AMSoftmaxLoss
from circlet.losses.arcface import ArcFaceLoss as ArcFaceLoss
from circlet.losses.base import Level as Level
from circlet.losses.base import PairLoss as PairLoss
from circlet.losses.catalogue import all_losses as all_losses
from circlet.losses.catalogue import find_loss as find_loss
from circlet.losses.circle import CircleLoss as CircleLoss
from circlet.losses.contrastive import ContrastiveLoss as ContrastiveLoss
from circlet.losses.contrastive import MarginLoss as MarginLoss
from circlet.losses.curricular_face import CurricularFaceLoss as CurricularFaceLoss
from circlet.losses.form import Form as Form
from circlet.losses.form import RowRule as RowRule
from circlet.losses.form import Rows as Rows
from circlet.losses.hyper_parameters import HyperParameter as HyperParameter
from circlet.losses.hyper_parameters import Margin as Margin
from circlet.losses.hyper_parameters import Number as Number
from circlet.losses.hyper_parameters import Scale as Scale
from circlet.losses.hyper_parameters import Temperature as Temperature
from circlet.losses.info_nce import InfoNCELoss as InfoNCELoss
from circlet.losses.info_nce import NTXentLoss as NTXentLoss
from circlet.losses.info_nce import SupConLoss as SupConLoss
from circlet.losses.lifted_structure import LiftedStructureLoss as LiftedStructureLoss
from circlet.losses.magface import MagFaceLoss as MagFaceLoss
from circlet.losses.multi_label import MultiLabelLoss as MultiLabelLoss
from circlet.losses.multi_similarity import MultiSimilarityLoss as MultiSimilarityLoss
from circlet.losses.nca import NCALoss as NCALoss
from circlet.losses.normface import NormFaceLoss as NormFaceLoss
from circlet.losses.p2s_grad import P2SGradLoss as P2SGradLoss
from circlet.losses.proxy_anchor import ProxyAnchorLoss as ProxyAnchorLoss
from circlet.losses.proxy_nca import ProxyNCALoss as ProxyNCALoss
from circlet.losses.soft_triple import SoftTripleLoss as SoftTripleLoss
from circlet.losses.softmax import NPairLoss as NPairLoss
from circlet.losses.softmax import SoftmaxLoss as SoftmaxLoss
from circlet.losses.subcenter_arcface import SubCenterArcFaceLoss as SubCenterArcFaceLoss
from circlet.losses.triplet import SemiHardTripletLoss as SemiHardTripletLoss
from circlet.losses.triplet import SoftMarginTripletLoss as SoftMarginTripletLoss
from circlet.losses.triplet import TripletLoss as TripletLoss
from circlet.losses.unified import UnifiedLoss as UnifiedLoss

CosFace = AMSoftmaxLoss

def __getattr__(name: str) -> Any: ...
