"""From an uploaded file to one Arrow file of typed columns: one module for each format."""
