import report_evidence as evidence
import report_fixture as fixture

from visrec.report.layer_sections import layers


def plain(text):
    return text.replace("\N{NO-BREAK SPACE}", " ")


def atlas(**levels):
    table = evidence.atlas_rows([fixture.age(500, 10)])
    for name, value in levels.items():
        layer, pooling = name.split("_")
        which = (table["layers"] == layer) & (table["pooling"] == pooling) & (table["batchnorm"] == "running")
        table.loc[which, ["precision", "low", "high"]] = value, value - 0.015, value + 0.015
    return table


def test_atlas_sentences_are_no_stronger_than_the_intervals():
    best, loud = (plain(text) for text in layers(atlas(), "running")["sentences"])
    # hidden2 averaged 0.45 +- 0.015 is near its own flattened and maximum, 0.42 +- 0.015: exactly touching
    assert best == (
        "Of the single layers hidden2 (average) scores highest, 45.0 % [43.5, 46.5]; 2 of the other 11 intervals "
        "overlap its own, so which is best is open."
    )
    assert loud == (
        "In the paper’s stack hidden3 (flatten) has the largest say: 90.0 % of the squared distance with 92.0 % of the "
        "values. Alone it scores 37.0 % [35.5, 38.5]: below the highest."
    )
    best, loud = (plain(text) for text in layers(atlas(hidden2_average=0.6), "running")["sentences"])
    assert best.endswith("60.0 % [58.5, 61.5], with an interval above all others.")
    best, loud = (plain(text) for text in layers(atlas(hidden3_flatten=0.44), "running")["sentences"])
    assert loud.endswith("Alone it scores 44.0 % [42.5, 45.5], and that overlaps with the highest.")
    best, loud = (plain(text) for text in layers(atlas(hidden3_flatten=0.6), "running")["sentences"])
    assert best.startswith("Of the single layers hidden3 (flatten) scores highest, 60.0 %")
    assert loud.endswith("It is the layer that scores highest, too.")


def test_atlas_speaks_of_the_mode_that_the_trial_embeds_with():
    other = layers(atlas(hidden3_flatten=0.6), "reestimated")
    assert other["batchnorm"] == "reestimated"
    assert "hidden2 (average) scores highest, 43.0" in plain(other["sentences"][0])
    assert (other["k"], other["n"], plain(other["chance"])) == (3, 2000, "10.0 %")
    assert len(other["rows"]) == 2 * 16
    wide = next(row for row in other["rows"] if row["variant"] == "all layers at 4 × 4")
    assert (wide["probe"], wide["probe_span"], wide["note"]) == ("–", "", "too wide for the probe")
