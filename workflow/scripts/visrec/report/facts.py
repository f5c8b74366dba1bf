"""What stands below the conclusion of a verdict: what else a reader needs to choose an encoder, in a sentence each."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from visrec.report import score_names
from visrec.report.equals import cheapest, cost, equal_to
from visrec.report.headline import HEADLINE_SPACE
from visrec.report.score_tables import Rows, pick, spaces_of
from visrec.report.verdict import (
    BETTER,
    EQUAL,
    METRICS,
    Score,
    enumerate_words,
    judged,
    missing,
    named,
    percent,
    points,
    relation,
    score,
    some_of,
)
from visrec.scoring.transforms import SEARCHED

SATURATED = 0.95  # precision above which little is left to tell encoders apart by
NAMED_SPACES = 2  # encoders that a sentence names with their best spaces
MANY_DUPLICATES = 0.05  # share of test pictures with a near duplicate in train that a verdict has to name


def facts(
    leaders: Sequence[Mapping[str, Any]],
    comparisons: Sequence[Mapping[str, Any]],
    scores: Rows,
    disclosed: Mapping[str, str],
) -> list[str]:
    """Sentences about one dataset and size; none where fewer than two encoders are scored.

    Args:
        leaders: its rows of leaderboard.csv, one per encoder.
        comparisons: its rows of comparisons.csv.
        scores: the scores of the chosen trials, from `score_tables.of_chosen`.
        disclosed: encoder -> what has to be said wherever it is named, see `visrec.report.inputs.disclosures`.
    """
    rows = _scored(leaders)
    if len(rows) < 2:
        return []
    best = max(rows, key=lambda encoder: rows[encoder]["precision"])
    found = [
        _saturated(rows, best, comparisons, scores, disclosed),
        _in_other_spaces(best, scores, rows[best]["k"], disclosed),
    ]
    return [sentence for sentence in found if sentence]


def _scored(leaders: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Encoder -> its row, of those with a precision."""
    return {row["encoder"]: row for row in leaders if score(row, "precision").measured}


def label_free(
    leaders: Sequence[Mapping[str, Any]], comparisons: Sequence[Mapping[str, Any]], disclosed: Mapping[str, str]
) -> str:
    """The best of the encoders that saw no labels and no other pictures, where others did; else "".

    Args:
        leaders: rows of leaderboard.csv of one dataset and size, one per encoder.
        comparisons: its rows of comparisons.csv, or of overall_pairs.csv.
        disclosed: encoder -> what has to be said wherever it is named.
    """
    rows = _scored(leaders)
    own = [encoder for encoder in rows if encoder not in disclosed]
    if not own or len(own) == len(rows):
        return ""
    first = max(own, key=lambda encoder: rows[encoder]["precision"])
    close = [other for other in equal_to(first, own, comparisons) if other != first]
    over = f", without a measurable lead over {some_of(close, len(own) - 1)}" if close else ""
    if len(own) > 1 and all(relation(comparisons, first, other) == BETTER for other in own if other != first):
        over = ", measurably above the others"
    return (
        f"Of those that saw neither labels nor pictures of others, {first} is highest, "
        f"{percent(rows[first]['precision'])}{over}."
    )


def _saturated(
    rows: Mapping[str, Mapping[str, Any]],
    best: str,
    comparisons: Sequence[Mapping[str, Any]],
    scores: Rows,
    disclosed: Mapping[str, str],
) -> str:
    """Where precision is near its ceiling, what MAP@R says, which is of the whole ranking."""
    if rows[best]["precision"] < SATURATED:
        return ""
    whole = {
        encoder: row["value"]
        for encoder, row in pick(scores, "knn", "map_at_r").items()
        if encoder in rows and row is not None and not missing(row["value"])
    }
    near = f"{METRICS['precision'].format(k=rows[best]['k'])} is near its ceiling here and tells little apart."
    if len(whole) < 2:
        return near
    first = max(whole, key=whole.__getitem__)
    words = {encoder: relation(comparisons, first, encoder, "map_at_r") for encoder in whole if encoder != first}
    behind = [named(encoder, disclosed) for encoder, word in words.items() if word == BETTER]
    equal = [named(encoder, disclosed) for encoder, word in words.items() if word in EQUAL]
    if len(behind) + len(equal) < len(words):  # the scores are one seed's, the words all seeds': it is not the highest
        return near
    said = f"By MAP@R, which looks at the whole ranking, {named(first, disclosed)} is highest ({percent(whole[first])})"
    parts = [f"measurably better than {enumerate_words(behind)}"] if behind else []
    parts += [f"with no measurable difference from {enumerate_words(equal)}"] if equal else []
    return f"{near} {said}, {', '.join(parts)}."


def _in_other_spaces(best: str, scores: Rows, k: int, disclosed: Mapping[str, str]) -> str:
    """Whether the encoder that is highest in the headline's space is so in the others.

    Features of one layer have no row where layers are weighed or picked: they are then what they are raw.
    """
    highest = {}
    for features, distance in spaces_of(scores):
        raw = pick(scores, "knn", "precision", k, distance=distance)
        found = pick(scores, "knn", "precision", k, features=features, distance=distance)
        rows = {name: raw[name] if row is None else row for name, row in found.items()}
        values = {name: row["value"] for name, row in rows.items() if row is not None and not missing(row["value"])}
        if len(values) > 1:
            highest[features, distance] = max(values, key=values.__getitem__)
    if len(highest) < 2:
        return ""
    times = Counter(highest.values())
    if len(times) == 1:
        all_spaces = f"{len(highest)} spaces (distance and scaling of the features)"
        # The scores are one seed's, the best is of all seeds.
        return f"{named(best, disclosed)} is highest in all {all_spaces}." if best in times else ""
    said = [f"{named(name, disclosed)} in {count}" for name, count in times.most_common()]
    return (
        f"The order depends on the space (distance and scaling of the features): of {len(highest)}, "
        f"{enumerate_words(said)} {'is' if len(said) == 1 else 'are'} highest."
    )


def better_spaces(rows: Sequence[Mapping[str, Any]], leaders: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Which encoders are measurably better in another space than the headline's, and how to recommend by it.

    Args:
        rows: of spaces.csv, of one dataset and size.
        leaders: its rows of leaderboard.csv.

    Returns:
        `says`, "" where none is; `config`, the config's section `recommend` that uses the first one's space, "" if
        the recommender does not offer it.
    """
    better = sorted((row for row in rows if row["word"] == BETTER), key=lambda row: -row["difference"])
    if not better:
        return {"says": "", "config": ""}
    before = {encoder: row["precision"] for encoder, row in _scored(leaders).items()}
    found = [
        f"{row['encoder']} {percent(before[row['encoder']])} \N{RIGHTWARDS ARROW} "
        f"{percent(before[row['encoder']] + row['difference'])} "
        f"({points(Score(row['difference'], row['low'], row['high']))}; "
        f"{score_names.space(row['features'], row['distance'])})"
        for row in better[:NAMED_SPACES]
    ]
    rest = len(better) - len(found)
    more = f"; so {'is' if rest == 1 else 'are'} {rest} more" if rest else ""
    first = better[0]
    reached = {row["encoder"]: before[row["encoder"]] + row["difference"] for row in rows}
    ahead = sorted(reached, key=lambda encoder: -reached[encoder])
    turned = ""
    if ahead[0] != max(before, key=lambda encoder: before[encoder]):
        leading = [f"{encoder} {percent(reached[encoder])}" for encoder in ahead[:NAMED_SPACES]]
        turned = f" Each in its best space, the order is {', '.join(leading)}; these are not judged in pairs."
    offered = first["features"] in SEARCHED
    return {
        "says": f"Scores here are by {score_names.space(*HEADLINE_SPACE)}. Measurably better in another space: "
        f"{enumerate_words(found)}{more}.{turned}",
        "config": f"recommend: {{features: {first['features']}, distance: {first['distance']}}}" if offered else "",
    }


def costs(
    leaders: Sequence[Mapping[str, Any]],
    comparisons: Sequence[Mapping[str, Any]],
    stages: Mapping[str, str | None],
    disclosed: Mapping[str, str],
) -> str:
    """What the best costs, and the cheapest and the smallest of those that are not measurably worse; "" without scores.

    Args:
        leaders: rows of leaderboard.csv of one dataset and size, one per encoder; or means over several, with
            `least_dimensions` where the number of dimensions differs.
        comparisons: its rows of comparisons.csv, or of overall_pairs.csv.
        stages: encoder -> its stage ("fit", "train"), or None.
        disclosed: encoder -> what has to be said wherever it is named.
    """
    rows = _scored(leaders)
    if not rows:
        return ""
    best = max(rows, key=lambda encoder: rows[encoder]["precision"])
    equal = equal_to(best, rows, comparisons)
    cheap = cheapest(equal, rows)
    small = min(equal, key=lambda encoder: rows[encoder]["dimensions"])

    def price(encoder: str) -> str:
        return cost(rows[encoder], stages[encoder])

    def size(encoder: str) -> str:
        most = rows[encoder]["dimensions"]
        least = rows[encoder].get("least_dimensions", most)
        return f"{f'{least:,} to ' if least < most else ''}{most:,} values per picture"

    def aside(encoder: str, what: Callable[[str], str]) -> str:
        return "" if encoder == best else f" ({what(encoder)})"  # of the best it has just been said

    own = f"{best}: {price(best)}, {size(best)}."
    if len(equal) == 1:
        return own
    others = f"{own} Of those without measurable difference, {named(cheap, disclosed)} is cheapest{aside(cheap, price)}"
    if small == cheap:
        return f"{others} and smallest{aside(small, size)}."
    return f"{others}, {named(small, disclosed)} smallest{aside(small, size)}."


def near_copies(duplicates: Mapping[str, Any] | None, queries: int) -> str:
    """A caveat where many test pictures have a near duplicate in train; else "".

    Args:
        duplicates: `near`, how many test pictures have one; None where nobody looked.
        queries: number of test pictures.
    """
    if not duplicates or not queries or duplicates["near"] < MANY_DUPLICATES * queries:
        return ""
    return (
        f"{duplicates['near']:,} of {queries:,} test pictures have a near duplicate in train. To find that one is no "
        "test of an embedding; the table of train-test overlap has the scores without them."
    )


def limits(
    leaders: Sequence[Mapping[str, Any]],
    trained: Sequence[str],
    comparisons: Sequence[Mapping[str, Any]],
    duplicates: Mapping[str, Any] | None,
    queries: int,
) -> list[str]:
    """What limits a verdict, in a few words each; the caveats below it say more.

    Args:
        leaders: its rows of leaderboard.csv, one per encoder.
        trained: the encoders that are trained networks.
        comparisons: its rows of comparisons.csv.
        duplicates: as for `near_copies`.
        queries: number of test pictures.
    """
    scored = _scored(leaders)
    lone = [encoder for encoder in trained if encoder in scored and scored[encoder]["n_seeds"] == 1]
    found = []
    if lone:
        several = len(lone) < sum(encoder in scored for encoder in trained)
        found.append(f"one training run of {enumerate_words(lone)}" if several else "one training run per network")
    if queries:
        near = duplicates["near"] if duplicates else 0
        share = "under 1" if 200 * near < queries else f"{100 * near / queries:.0f}"
        copies = f", {share}\N{NO-BREAK SPACE}% with a near copy in train" if near else ""
        found.append(f"{queries:,} queries{copies}")
    unstable = [row["encoder"] for row in leaders if row.get("status") == "unstable"]
    if unstable:
        found.append(f"the training of {enumerate_words(unstable)} is unstable")
    pairs = judged(comparisons)
    return [*found, f"{pairs} pairs judged together"] if pairs > 1 else found
