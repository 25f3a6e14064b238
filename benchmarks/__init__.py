"""Speed and memory of a2d, side by side with its peers: `make bench`."""
