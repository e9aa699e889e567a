"""The console blocks of the documentation, carried out as a reader would."""
