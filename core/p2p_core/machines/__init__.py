"""The protocols as state machines without I/O or a clock: bytes and `now` in; bytes, deadlines and events out."""
