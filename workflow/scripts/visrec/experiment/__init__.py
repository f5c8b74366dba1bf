"""What is run, and where each file is: the config, the components found, trials and their names, how far each one is.

It may import `jobs` and `errors` alone, and stays light, no torch and no pandas: the Snakefile imports it, and every
cluster job parses the Snakefile again.
"""
