"""The database's tables, step by step, from the first release on."""
