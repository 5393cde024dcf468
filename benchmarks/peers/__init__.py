"""The peers: the same six operations in other frameworks, each written as the framework's documentation shows."""
