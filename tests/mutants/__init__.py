"""Planted faults that the tests have to find, and the command that shows that they do."""
