"""Why something does not run: small rules, one answer each."""
