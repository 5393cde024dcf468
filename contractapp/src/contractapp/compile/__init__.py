"""Compiles the contract into tables, once, at start-up."""
