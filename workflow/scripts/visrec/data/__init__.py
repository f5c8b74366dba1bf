"""Pictures and files: archives, downloads, folders, decoding, splits, duplicates, and the HDF5 files between stages.

It knows no dataset, encoder or evaluator by name. It may import `jobs` and `errors` alone.
"""
