"""The way of a request, from the tables that `compile` made."""
