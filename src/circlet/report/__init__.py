"""Reports: what a run found, as a page and as pictures."""

from circlet.report.neighbours import contact_sheet
from circlet.report.page import build_page

__all__ = ["build_page", "contact_sheet"]
