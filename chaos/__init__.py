"""Kills, stops and cuts off what trains, by real signals to real processes, and counts what is lost."""
