"""The revisions of Alembic; `store.database` runs them without an alembic.ini.

A new revision is a file `versions/NNNN_topic.py` with the next number, which also becomes
`store.database.HEAD`; tests/store/test_store_schema.py checks it against the tables.
"""
