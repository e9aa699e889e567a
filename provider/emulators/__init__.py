"""Local stand-ins for the services, which speak their protocols."""
