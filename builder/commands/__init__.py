"""The commands of ``armwheels``, one file a family. :mod:`builder.cli` loads the one that is run."""
