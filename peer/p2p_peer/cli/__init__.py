"""The command `p2p-peer`. Modules are imported late, so that `--help` is quick."""
