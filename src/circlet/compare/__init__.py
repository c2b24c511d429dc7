"""Losses compared fairly.

| file         | what it is                                                                              |
|--------------|-----------------------------------------------------------------------------------------|
| contenders   | a loss with its settings, where they come from, what a search tries, what all must share |
| comparison   | search on validation classes, then every loss with every seed                           |
| runs         | many runs, a few at a time, each in a process of its own; resumable                     |
| one_run      | that process                                                                            |
| start        | of heads on frozen features: the closed form that all begin at, the rows beside them    |
| heads        | many heads, by a few processes that each train one after the other; resumable           |
| head_worker  | that process                                                                            |
| classes, costs | what each run leaves: figures of each test class, what it has spent                   |
| result       | what was found                                                                          |
| statistics   | over seeds: means, t intervals, paired differences                                      |
| significance | over test classes: paired differences, a randomisation test, Holm's correction          |
| verdicts     | what differs, in sentences                                                              |
| tables       | the result as Markdown and CSV                                                          |
| plots, page  | the result as pictures and as an HTML page                                              |
"""

from circlet.compare.comparison import Plan, compare
from circlet.compare.contenders import Contender, parse_contender
from circlet.compare.page import build_page
from circlet.compare.result import Result
from circlet.compare.runs import Machine
from circlet.compare.significance import Difference, holm, randomization_test
from circlet.compare.statistics import Interval, mean_interval, paired_difference
from circlet.compare.tables import csv_text, markdown, verdicts_markdown
from circlet.compare.verdicts import verdicts

__all__ = [
    "Contender",
    "Difference",
    "Interval",
    "Machine",
    "Plan",
    "Result",
    "build_page",
    "compare",
    "csv_text",
    "holm",
    "markdown",
    "mean_interval",
    "paired_difference",
    "parse_contender",
    "randomization_test",
    "verdicts",
    "verdicts_markdown",
]
