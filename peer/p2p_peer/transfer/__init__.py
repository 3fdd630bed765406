"""Files: read ahead and hashed in a thread of their own on one side, verified and written in one on the other."""
