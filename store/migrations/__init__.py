"""The revisions of Alembic; `store.database` runs them without an alembic.ini.

A new revision is a file `versions/NNNN_topic.py` with the next number, which also becomes
`store.database.HEAD`; one of views alone is in `versions/views`. tests/store/test_store_schema.py
checks the revisions against the tables.
"""
