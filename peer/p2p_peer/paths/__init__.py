"""Working ways between two peers."""
