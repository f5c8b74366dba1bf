"""The recommender: new pictures, embedded by a finished trial, and their nearest in a gallery.

Nothing imports it but the rules. Light: what needs torch is imported where it is used.
"""
