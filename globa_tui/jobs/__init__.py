"""Jobs: the processes that run an analysis or a merge, and how to follow and steer them."""
