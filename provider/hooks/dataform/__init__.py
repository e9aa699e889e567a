"""Dataform: the hook is in :mod:`provider.hooks.dataform.hook`."""
