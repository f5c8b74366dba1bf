"""Tables, figures and the one-file report. Light on purpose: rules read the file names below from here.

`TABLES` are under results/{experiment}/tables/, by the name that `tables.tables` takes them under. `FIGURES` are under
results/{experiment}/figures/{dataset}/{size}px/, the same for every dataset and size whatever the encoders; `narrow`
is the same picture laid out for a phone.
"""

TABLES = {
    "scores": "scores.csv",
    "leaderboard": "leaderboard.csv",
    "leaderboard_html": "leaderboard.html",
    "grid": "grid.csv",
    "layers": "layers.csv",
    "comparisons": "comparisons.csv",
    "spaces": "spaces.csv",
    "overall": "overall.csv",
    "overall_pairs": "overall_pairs.csv",
    "selection": "selection.csv",
    "overlap": "overlap.csv",
    "atlas": "atlas.csv",
    "classes": "classes.csv",
    "confusion": "confusion.csv",
}
PROVENANCE = "provenance.csv"  # beside the tables, made with the report
FIGURES = (
    "leaderboard.svg",
    "leaderboard-dark.svg",
    "heatmap.svg",
    "heatmap-dark.svg",
    "heatmap-narrow.svg",
    "heatmap-narrow-dark.svg",
    "curves.svg",
    "curves-dark.svg",
    "curves-narrow.svg",
    "curves-narrow-dark.svg",
    "layers.svg",
    "layers-dark.svg",
    "atlas.svg",
    "atlas-dark.svg",
    "atlas-narrow.svg",
    "atlas-narrow-dark.svg",
)
