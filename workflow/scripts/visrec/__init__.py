"""visrec: which image embedding recommends the right pictures?

The library behind the workflow. It knows nothing of Snakemake: the rules in `workflow/rules` name files, the scripts in
`workflow/scripts` unpack them and call one function of this package each.

Whoever adds a dataset, an encoder or an evaluator drops a file into the folder of that name. Each of the other
folders says in its `__init__` what lives there. Imports point one way: tests/unit/test_architecture.py says which.

    trial = visrec.load("results/demo/digits/32px/age/lambda_z~1000+mu_x~10+seed~0")
    found = trial.search(trial.embed(["photo.jpg"]), k=5)
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from visrec.recommender.recommender import Recommender


def load(folder: str, gallery: str | None = None, **options: Any) -> "Recommender":
    """A finished trial that embeds new pictures and finds their nearest.

    Args:
        folder: of the trial.
        gallery: a folder of pictures to recommend; None: the training images.
        options: what `visrec.recommender.recommender.Recommender` takes beside.
    """
    from visrec.recommender.recommender import Recommender

    return Recommender(folder, gallery, **options)
