"""Bytes to our own types and back. Parsers raise `Malformed` and nothing else."""
