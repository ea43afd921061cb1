"""Audits what people install: one wheel of each project, for several CPU targets.

:mod:`builder.survey.model` says what a report means for a user, :mod:`builder.survey.run` fetches and audits, and
:mod:`builder.survey.page` writes the page, the JSON and the badges.
"""

from builder.survey.model import Answer, Entry, Result, Survey
from builder.survey.page import write_pages
from builder.survey.run import Surveyor, ranked_projects

__all__ = ["Answer", "Entry", "Result", "Survey", "Surveyor", "ranked_projects", "write_pages"]
