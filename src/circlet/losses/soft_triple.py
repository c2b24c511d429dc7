"""SoftTriple loss."""

from typing import ClassVar

from circlet import rules
from circlet.losses.base import Level, PairLoss
from circlet.losses.form import Form, Softmax
from circlet.losses.hyper_parameters import Margin, Scale, Temperature


class SoftTripleLoss(PairLoss):
    """SoftTriple: softmax cross-entropy on classes of several centres, of which the nearer ones count more.

    The similarity to a class is sum_k w_k s_k with w the softmax over its centres of s_k / temperature; then AM-Softmax
    with gamma and margin. Made for class weights of 10 centres a class, `ClassWeights(..., centers=10)`. The paper's
    regulariser, which draws the centres of a class together, is left to the caller. gamma: scale, > 0 (the paper's
    lambda). temperature: of the choice among centres, > 0 (the paper's gamma). margin: in units of cosine similarity.
    Not compiled whole: torch.compile breaks the graph where the centres of a class are counted.
    Source: Qian et al., ICCV 2019, Eq. 6 and 7.
    """

    title: ClassVar[str] = "SoftTriple"
    level: ClassVar[Level] = "class"
    num_centers: ClassVar[int] = 10
    paper_settings: ClassVar[dict[Level, tuple[dict[str, float], str]]] = {
        "class": ({"gamma": 20.0, "temperature": 0.1, "margin": 0.01}, "its paper (fine-grained retrieval)")
    }

    gamma: float = Scale(default=20.0)
    temperature: float = Temperature(default=0.1)
    margin: float = Margin(default=0.01)

    def form(self) -> Form:
        """A weighted mean within each class, a constant margin on the target."""
        return Form(rules.ConstantMargin(self.margin, self.gamma), within_class=Softmax(self.temperature))
