"""Power BI: the hook is in :mod:`provider.hooks.powerbi.hook`."""
