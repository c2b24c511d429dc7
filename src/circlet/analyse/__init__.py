"""Seeing: what a loss does to pairs of similarities, on paper and in training.

| file           | what it is                                                                          |
|----------------|-------------------------------------------------------------------------------------|
| boundary       | the decision boundary of a loss                                                     |
| decision_plane | a loss and its gradients over the (s_n, s_p) plane, by autograd                     |
| plane_figures  | Figures 1 and 2: decision boundaries, gradient surfaces                             |
| telemetry      | similarities, weights and gradient mass of a training batch                         |
| trace          | the (s_p, max s_n) of single anchors over training, in a file                       |
| run_figures    | Figures 3 to 5: hyper-parameters, convergence, from real runs                       |
"""

from circlet.analyse.decision_plane import Plane, Point, at_point, plane
from circlet.analyse.plane_figures import figure_1, figure_2
from circlet.analyse.run_figures import figure_3, figure_4, figure_5
from circlet.analyse.telemetry import Observation, Telemetry, observe
from circlet.analyse.trace import Hardest, Trace, read_trace

__all__ = [
    "Hardest",
    "Observation",
    "Plane",
    "Point",
    "Telemetry",
    "Trace",
    "at_point",
    "figure_1",
    "figure_2",
    "figure_3",
    "figure_4",
    "figure_5",
    "observe",
    "plane",
    "read_trace",
]
