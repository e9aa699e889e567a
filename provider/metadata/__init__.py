"""The application database: tables, engine, queries, migrations. Imports nothing of the rest but settings and exceptions."""
