"""The report of a check: one self-contained HTML page, and the same facts as tables in Markdown."""

from __future__ import annotations

from validate import reportaccuracy, reporthost, reporthtml, reportmarkdown
from validate.reportfigures import figures
from validate.reportgrid import Record, Section
from validate.reportroofline import roofline


def sections(found: Record) -> tuple[Section, ...]:
    """What a report says, in its order."""
    return (
        reportaccuracy.accuracy(found),
        reportaccuracy.scatter(found),
        reportaccuracy.groups(found),
        reportaccuracy.worst_five(found),
        reportaccuracy.winners(found),
        reportaccuracy.ratios(found),
        reportaccuracy.crossovers(found),
        reportaccuracy.coverage(found),
        reportaccuracy.calibration(found),
        reporthost.parameters(found),
        roofline(found),
        reporthost.conditions(found),
        reporthost.every_point(found),
    )


def html(found: Record) -> str:
    """One page with everything inside. `found`: what `validate.check.record` makes."""
    title, head, verdict = reporthost.title(found), reporthost.head(found), reportaccuracy.verdict(found)
    return reporthtml.page(title, head, verdict, sections(found), figures(found))


def markdown(found: Record) -> str:
    """The same without figures."""
    title, head, verdict = reporthost.title(found), reporthost.head(found), reportaccuracy.verdict(found)
    return reportmarkdown.page(title, head, verdict, sections(found))
