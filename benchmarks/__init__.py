"""Programs that measure Punchwire and print a table: benchmarks/README.md."""
