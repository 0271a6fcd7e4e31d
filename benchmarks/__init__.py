"""How fast it is, as ratios to a limit that is measured in the same run. `make bench` runs all of it."""
