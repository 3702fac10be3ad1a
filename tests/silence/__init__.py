"""Every way in which something can go wrong ends in time, with an exit code and words that help."""
