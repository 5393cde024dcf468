"""From the text of a contract to tables: what is worked out once, at start-up."""
