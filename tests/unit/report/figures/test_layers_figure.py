import numpy as np
import pandas as pd
from figures_fixture import look

from visrec.report.figures.layers import layers


def test_bars_are_the_shares_of_dimensions_and_of_distance():
    rows = pd.DataFrame(
        {
            "encoder": ["pca", "age", "age", "age"],
            "layer": ["features", "conv2", "conv3", "output"],
            "dimensions": [12, 6, 20, 4],
            "share_of_dimensions": [1.0, 0.2, 20 / 30, 4 / 30],
            "share_of_distance": [1.0, 0.0004, 0.99, np.nan],
        }
    )
    with look(layers, rows) as figure:
        (axis,) = figure.axes  # pca has one layer
        pale, strong = axis.containers
        np.testing.assert_allclose([bar.get_width() for bar in pale], [0.2, 20 / 30, 4 / 30])
        np.testing.assert_allclose([bar.get_width() for bar in strong], [0.0004, 0.99, 0])
        assert [label.get_text() for label in axis.get_yticklabels()] == ["conv2 (6)", "conv3 (20)", "output (4)"]
        texts = [text.get_text().replace("\N{NO-BREAK SPACE}", " ") for text in axis.texts]
        assert axis.get_title(loc="left") == "age"
    assert texts == ["20.0 %", "66.7 %", "13.3 %", "under 0.1 %", "99.0 %", "–"]


def test_without_a_stack_the_figure_says_so():
    rows = pd.DataFrame({"encoder": ["pca"], "layer": ["features"], "dimensions": [12]})
    with look(layers, rows) as figure:
        assert figure.texts[0].get_text() == "No encoder stacks several layers."
