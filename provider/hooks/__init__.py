"""Ways to talk to services; they know nothing of batches."""
