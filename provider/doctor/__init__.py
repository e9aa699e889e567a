"""What ``accelerator doctor`` looks at: small checks, each with what was seen and what to do."""
