"""What p2p_core makes of the inputs that stand in the pages: one module for each page, `blocks()` its blocks."""
