"""The commands of ``armwheels``, one file a family; :mod:`builder.cli` assembles them."""
