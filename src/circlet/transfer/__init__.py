"""From a pretrained network to an embedding of unseen classes, without making it worse.

| file          | what it is                                                                              |
|---------------|-----------------------------------------------------------------------------------------|
| features      | what the frozen network sees in images, computed once                                   |
| given_vectors | the same where vectors are given                                                        |
| closed_form   | heads without training: centring, whitening within classes                              |
| head          | a linear head, trained on features from there                                           |
| frozen_stages | both, judged on folds of the training classes                                           |
| judging       | whether an embedding is better than another, by an interval over classes                |
| plan          | what fits into the time that there is                                                   |
| config        | the settings                                                                            |

Training of the network itself, the last stage, is `circlet.experiments.network_stage`.
"""

from circlet.transfer.closed_form import LinearMap, WithinClasses, head_of, projected, set_head, unchanged
from circlet.transfer.config import TransferConfig
from circlet.transfer.features import Frozen
from circlet.transfer.frozen_stages import Fitting, Judgement, Stage, Unseen, fit_kept, judge_stages
from circlet.transfer.given_vectors import GivenVectors
from circlet.transfer.head import HeadConfig, train_head
from circlet.transfer.judging import Judged, Verdict, compare, judge, judge_images
from circlet.transfer.plan import Facts, Plan, make_plan

__all__ = [
    "Facts",
    "Fitting",
    "Frozen",
    "GivenVectors",
    "HeadConfig",
    "Judged",
    "Judgement",
    "LinearMap",
    "Plan",
    "Stage",
    "TransferConfig",
    "Unseen",
    "Verdict",
    "WithinClasses",
    "compare",
    "fit_kept",
    "head_of",
    "judge",
    "judge_images",
    "judge_stages",
    "make_plan",
    "projected",
    "set_head",
    "train_head",
    "unchanged",
]
