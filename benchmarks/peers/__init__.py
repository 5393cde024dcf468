"""The peers: the same six operations, each written as its framework's documentation shows."""
