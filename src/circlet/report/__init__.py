"""Reports: what a run found, as a page and as pictures.

| file            | what it is                                                                         |
|-----------------|------------------------------------------------------------------------------------|
| data            | what a report is made of                                                           |
| build           | what the page of a run shows; templates/report.html has its layout and words       |
| of_run          | the report of a run, from its folder and its images                                |
| survey          | one pass over the pairs of the test set                                            |
| curves          | histograms, ROC and Recall@K from it                                               |
| similarities    | the curves as charts; TAR at a few FARs                                            |
| examples        | best and worst queries, hardest confusions                                         |
| training_charts | metrics.jsonl over the steps                                                       |
| plane           | the (s_n, s_p) plane over training                                                 |
| embedding_map   | the embedding as a map; tsne computes it                                           |
| charts          | line charts as SVG                                                                 |
| suspicious      | labels that are contradicted, and duplicates, as the run found them                |
| neighbours      | the picture of queries and their neighbours that stands alone                      |
| explorer        | the page on which a pair of similarities can be dragged about                      |
"""

from circlet.models import Embedded
from circlet.report.build import build_report
from circlet.report.data import ReportData
from circlet.report.neighbours import contact_sheet
from circlet.report.of_run import report_of, run_report

__all__ = ["Embedded", "ReportData", "build_report", "contact_sheet", "report_of", "run_report"]
