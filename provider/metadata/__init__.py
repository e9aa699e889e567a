"""
The application database: tables, engine, queries, migrations.

Whoever must stay light imports these at the top: ``states``, ``rows``, ``inbox_message``, ``file_patterns``,
``advisory_locks``. All other modules need SQLAlchemy and are imported where they are used.
"""
