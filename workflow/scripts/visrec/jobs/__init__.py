"""What every job needs: its frame, logs of its attempts, claims, progress, code fingerprints.

Nothing here can change a result, so code fingerprints leave the whole wing out. It may import `errors` alone, and stays
light: no torch, no pandas.
"""
