"""visrec: which image embedding recommends the right pictures?

The library behind the workflow. It knows nothing of Snakemake: the rules in `workflow/rules` name files, the scripts in
`workflow/scripts` unpack them and call one function of this package each.

Imports point one way, and a test guards it:
report, evaluators, encoders, datasets -> training, stack -> networks, losses -> store, metrics -> config, trials.
"""
