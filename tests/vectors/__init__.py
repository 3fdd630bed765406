"""Golden bytes: they live in the pages of docs/protocol/, beside the rules they follow from.

pages        reads and writes the blocks
generate     makes them with p2p_core (`python -m tests.vectors.generate`, `--check` to compare only)
independent  checks them with code that shares nothing with Punchwire
"""
