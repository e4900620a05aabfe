"""Webhooks: what moves of jobs are told to other programs, and how that gets there."""
