"""This project beside its peers: the same work, the same data, the same machine, in turns. See README.md."""
