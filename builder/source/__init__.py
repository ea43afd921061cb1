"""From a pinned source to a clean tree with its patches applied; one file for each kind of source."""

from builder.source.archives import sdist_file
from builder.source.folder import pin_folders
from builder.source.git import check_answers, newest_tag, pin_followed
from builder.source.patches import checked_patches
from builder.source.tree import SOURCE_VERSION, origin, prepare, source_digest, source_inputs, tree_folder

__all__ = [
    "SOURCE_VERSION",
    "check_answers",
    "checked_patches",
    "newest_tag",
    "origin",
    "pin_folders",
    "pin_followed",
    "prepare",
    "sdist_file",
    "source_digest",
    "source_inputs",
    "tree_folder",
]
