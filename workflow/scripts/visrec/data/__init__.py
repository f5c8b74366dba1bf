"""Pictures and what is made of them on disk: archives, downloads, decoding, splits, duplicates, and the HDF5 files.

It knows no dataset, encoder or evaluator by name. It may import `jobs` and `errors` alone.
"""
