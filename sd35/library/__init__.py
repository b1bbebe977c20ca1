"""Images on disk and their index; it knows nothing of jobs.

`Library` is what other packages call. Below it, `Database` opens transactions; functions that take
a transaction's connection read and write rows (`repository`, `search`, `stats`); classes that hold
the folder and the database change files and rows together (`PictureStore`, `Scanner`, `Importer`).
"""
