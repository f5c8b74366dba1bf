"""What embeddings are worth: neighbours, metrics, protocols, intervals, linear probes, and measures without labels.

Formulas and engines; what is scored of a trial is decided in `evaluators`. It may import `training` and all below it.
"""
