"""From rows to DAGs."""
