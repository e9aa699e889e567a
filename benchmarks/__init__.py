"""Speed and cost of this provider, measured beside its peers. ``make bench`` runs all of it; see README.md."""
