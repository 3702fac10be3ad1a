"""What becomes of calls, of the log and of what was written when something fails, row by row, on an engine of its own."""
