"""How networks are trained: the loop, checkpoints, readings and losses.

It may import `networks`, `data`, `experiment`, `jobs` and `errors`.
"""
