import numpy as np
import report_evidence as evidence
import report_fixture as fixture
from figures_fixture import look

from visrec.report.figures.atlas import atlas, atlas_rows


def test_atlas_rows_are_grouped_by_pooling_and_each_variant_is_there_once():
    groups = atlas_rows(evidence.atlas_rows([fixture.age(500, 10)]))
    assert [heading for heading, _ in groups] == [
        *(f"single layers, {pooling}" for pooling in ("flatten", "average", "max", "grid")),
        "stacks",
    ]
    assert groups[0][1] == ["hidden1 (flatten)", "hidden2 (flatten)", "hidden3 (flatten)", "output"]
    assert groups[3][1] == ["hidden1 (grid)", "hidden2 (grid)"]  # the third is 4 x 4 already
    assert len(groups[4][1]) == 4


def test_the_atlas_draws_each_row_where_it_is():
    rows = evidence.atlas_rows([fixture.age(500, 10)])
    with look(atlas, rows, columns=2, width=4) as figure:
        (axis,) = figure.axes
        dots = {tuple(np.round(dot, 6)) for line in axis.lines if line.get_marker() == "o" for dot in line.get_xydata()}
        labels = [label.get_text() for label in axis.get_yticklabels()]
        (chance,) = [line for line in axis.lines if line.get_marker() != "o"]
        assert axis.get_title(loc="left") == "age"
    assert labels[:6] == ["single layers, flatten", "hidden1", "hidden2", "hidden3", "output", "single layers, average"]
    # hidden2 averaged, the second of the second group: 0.45 with running statistics, 0.43 with re-estimated
    assert (0.45, 7 - 0.16) in dots
    assert (0.43, 7 + 0.16) in dots
    assert labels[7] == "hidden2"
    assert len(dots) == len(rows) == 32
    assert list(chance.get_xdata()) == [0.1, 0.1]


def test_each_encoder_has_a_panel_and_the_legend_names_modes_and_chance():
    rows = evidence.atlas_rows([fixture.trial("random", {}), fixture.age(500, 10)])
    with look(atlas, rows, columns=2, width=4) as figure:
        assert [axis.get_title(loc="left") for axis in figure.axes] == ["random", "age"]
        assert [text.get_text() for text in figure.legends[0].get_texts()] == [
            "batch norm: running statistics",
            "batch norm: re-estimated statistics",
            "chance",
        ]
        assert "paper’s stack" in [label.get_text() for label in figure.axes[1].get_yticklabels()]
