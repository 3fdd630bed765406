"""Golden bytes: they live in the pages of docs/protocol/, beside the rules they follow from.

pages        reads and writes the blocks
generate     makes them with p2p_core (`python -m tests.vectors.generate`, `--check` to compare only)
made         the inputs and the makers, a module for each page
independent  checks them with code that shares nothing with Punchwire, a module for each page
"""
