"""Seeing: what a loss does to pairs of similarities, on paper and in training.

| file           | what it is                                                                          |
|----------------|-------------------------------------------------------------------------------------|
| forms          | rule, aggregate, scales and decision boundary of a loss                             |
| decision_plane | a loss and its gradients over the (s_n, s_p) plane, by autograd                     |
| plane_figures  | Figures 1 and 2: decision boundaries, gradient surfaces                             |
| telemetry      | similarities, weights and gradient mass of a training batch                         |
| trace          | the (s_p, max s_n) of single anchors over training, in a file                       |
| run_figures    | Figures 3 to 5: hyper-parameters, convergence, from real runs                       |
"""
