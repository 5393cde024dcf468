"""Processes requests, using the tables that `compile` made."""
