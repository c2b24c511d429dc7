"""Plan: memory, time and traffic of a job that is larger than the machine at hand, by formulas.

| file      | what it is                                                                        |
|-----------|-----------------------------------------------------------------------------------|
| scale     | the size of a job: images, classes, ranks, batch, dim                             |
| network   | weights, operations and activations of a network, counted                         |
| rates     | how much is done in a second, each with its source; those measured on an H100     |
| measuring | the rates of this machine, in some seconds                                        |
| part      | a part of the work: memory, time, traffic                                         |
| images    | parts: lists, decoding, the network and its optimiser                             |
| losses    | parts: pairs of the batch, class weights and their optimiser, memory bank         |
| exchange  | what ranks send each other: bytes and collectives                                 |
| storage   | parts: checkpoint, feature cache, embeddings, index; the test                     |
| planning  | the parts put together                                                            |
| advice    | the bottleneck, what does not fit, and what would make it fit                     |
| text      | the table, the sentences and the assumptions                                      |

docs/scale.md has the formulas with worked examples; benchmarks/plan.py holds them against measurements.
"""

from circlet.plan.advice import Budget
from circlet.plan.network import Network, count
from circlet.plan.planning import Plan
from circlet.plan.rates import Rate, Rates, of_h100
from circlet.plan.scale import Scale

__all__ = ["Budget", "Network", "Plan", "Rate", "Rates", "Scale", "count", "of_h100"]
