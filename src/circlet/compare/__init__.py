"""Losses compared fairly.

| file        | what it is                                                                               |
|-------------|------------------------------------------------------------------------------------------|
| contenders  | a loss with its settings, where they come from, what a search tries, what all must share  |
| comparison  | search on validation classes, then every loss with every seed; the result                |
| runs        | many runs, a few at a time, each in a process of its own; resumable                      |
| one_run     | that process                                                                             |
| statistics  | means, t intervals, paired differences                                                   |
| tables      | the result as Markdown and CSV                                                           |
| plots, page | the result as pictures and as an HTML page                                               |
"""

from circlet.compare.comparison import Plan, Result, compare
from circlet.compare.contenders import Contender, parse_contender
from circlet.compare.page import build_page
from circlet.compare.runs import Machine
from circlet.compare.statistics import Interval, mean_interval, paired_difference
from circlet.compare.tables import csv_text, markdown

__all__ = [
    "Contender",
    "Interval",
    "Machine",
    "Plan",
    "Result",
    "build_page",
    "compare",
    "csv_text",
    "markdown",
    "mean_interval",
    "paired_difference",
    "parse_contender",
]
