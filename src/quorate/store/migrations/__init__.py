"""Steps from an empty database to the newest form of the tables, one file each, in `versions`.

A step that has been published is never changed. A new one is a new file that names the one before it as
`down_revision`; `schema.py` changes with it.
"""
