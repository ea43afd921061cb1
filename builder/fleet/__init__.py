"""A night as a workflow of Temporal, which spreads its builds over workers and survives their death.

The stages are those of :mod:`builder.workshop` and :mod:`builder.index.publish`, which know nothing of the engine.
"""
