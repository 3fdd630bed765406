"""Where can we be reached? Candidates from every source that answers; a source that fails, fails alone."""
