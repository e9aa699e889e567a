"""``make demo``: the whole product on one machine, with real processes and without a cloud."""
