"""The networks that are embedded, and how their hidden layers become the vectors that are compared.

Nothing here trains. It may import `data`, `experiment`, `jobs` and `errors`.
"""
