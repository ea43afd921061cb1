"""The tests: unit, integration and end-to-end, and the helpers they share."""
