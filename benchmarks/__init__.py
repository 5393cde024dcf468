"""Compares this project with its peers: the same work and data on the same machine, in turns. See README.md."""
