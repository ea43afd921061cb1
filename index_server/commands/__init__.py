"""The commands of ``armwheels-index``. :mod:`index_server.cli` loads the one that is run."""
