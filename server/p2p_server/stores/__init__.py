"""Who wants whom, and telling them when both do. `base` is the interface, each other module one way to hold it."""
