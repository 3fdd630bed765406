"""Two ways to meet with no server of ours anywhere: `token` and `direct`."""
