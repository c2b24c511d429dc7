"""Benchmark: time and peak memory of one loss step, forward and backward, beside its peers in the same run.

| file        | what it is                                                          |
|-------------|---------------------------------------------------------------------|
| cases       | one size of the problem, and its operands                           |
| contenders  | who takes part: circlet, its dense twin, bare products, other packages |
| measure     | best time by turns in one process; high-water mark in a fresh one   |
| results     | the JSON file, the Markdown table and the plot                      |
"""

from circlet.bench.cases import Case
from circlet.bench.measure import measure
from circlet.bench.results import Results, machine, plot, table

__all__ = ["Case", "Results", "machine", "measure", "plot", "table"]
