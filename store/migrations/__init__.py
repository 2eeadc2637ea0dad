"""Alembic's folder of revisions; `store.database` runs them, without an alembic.ini."""
