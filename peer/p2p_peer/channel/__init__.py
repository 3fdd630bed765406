"""A path made safe: TLS 1.3 with the hybrid key exchange, then the mutual key proof, then frames."""
