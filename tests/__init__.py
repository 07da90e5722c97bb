"""Tests, one folder a room of the house; each folder is a package, so that names may repeat."""
