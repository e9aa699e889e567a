"""Links from a task to the console of its service."""
