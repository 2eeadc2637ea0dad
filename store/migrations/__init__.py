"""Alembic's folder of revisions; `store.database` runs them, without an alembic.ini.

A new revision is a file `versions/NNNN_what.py` with the next number, which also becomes
`store.database.HEAD`; tests/store/test_store_schema.py says what it still lacks.
"""
