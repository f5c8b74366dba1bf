"""What is read for the tables and the report."""

from visrec.experiment import trials
from visrec.report.inputs import disclosures

CONFIG = {"seeds": [0], "datasets": {}, "encoders": {}}


def make(encoder, **options):
    return trials.make(CONFIG, "digits", 32, encoder, options, 0)


def test_what_has_to_be_said_of_an_encoder():
    assert disclosures([make("pixels"), make("age"), make("supervised"), make("pretrained")]) == {
        "supervised": "trained with labels",
        "pretrained": "pretrained on ImageNet-1k, with labels",
    }
    named = make("pretrained", weights="a.pth", trained_on="LVD-142M, without labels")
    assert disclosures([named]) == {"pretrained": "pretrained on LVD-142M, without labels"}
    unknown = make("pretrained", weights="b.pth")
    assert disclosures([unknown]) == {"pretrained": "pretrained on unknown pictures"}
    both = disclosures([named, unknown, named])["pretrained"]
    assert both == "pretrained on LVD-142M, without labels; pretrained on unknown pictures"
    # What the installed weights are from is known, whatever is said.
    assert disclosures([make("pretrained", trained_on="nothing")])["pretrained"].endswith("ImageNet-1k, with labels")
