"""Words from numbers, never stronger than the intervals allow.

Two encoders are called better or worse only where the interval of their paired difference, a row of comparisons.csv,
leaves out 0; these intervals hold for all pairs at once. Else the verdict is "not resolved", which the page calls no
measurable difference, or "identical" where every query scores the same with both. A constant (chance, the majority
class) is passed only by an interval that leaves it out.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

BETTER, WORSE, NOT_RESOLVED, NOT_MEASURED = "better", "worse", "not resolved", "not measured"
IDENTICAL = "identical"
EQUAL = (NOT_RESOLVED, IDENTICAL)  # no measurable difference
OPPOSITE = {BETTER: WORSE, WORSE: BETTER}
BASELINES = {"random": "its own untrained network", "pixels": "raw pixels"}
# column of leaderboard.csv: what it is called
METRICS = {
    "precision": "precision@{k}",
    "knn_accuracy": "k-NN accuracy@{k}",
    "svm_accuracy": "SVM accuracy",
}
NAMED = 4  # encoders that a sentence names one by one
NO_BREAK = "\N{NO-BREAK SPACE}"


def missing(value: Any) -> bool:
    """True for None and NaN."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def percent(value: float | None, decimals: int = 1) -> str:
    """A fraction as percent, "16.2 %", without a sign where it rounds to 0; a dash where there is none."""
    return "\N{EN DASH}" if missing(value) else f"{round(100 * value, decimals) + 0.0:.{decimals}f}{NO_BREAK}%"


def span(low: float | None, high: float | None) -> str:
    """An interval of fractions in percent, "[15.4, 17.0]"; empty where there is none."""
    return "" if missing(low) or missing(high) else f"[{100 * low:.1f}, {100 * high:.1f}]"


def duration(seconds: float | None) -> str:
    """Seconds in words, "8.2 s", "3 min 20 s", "5 h 03 min"; "not measured" where there are none."""
    if missing(seconds):
        return NOT_MEASURED
    if seconds < 99.95:
        return f"{seconds:.1f}{NO_BREAK}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}{NO_BREAK}min {rest:02d}{NO_BREAK}s"
    return f"{minutes // 60}{NO_BREAK}h {minutes % 60:02d}{NO_BREAK}min"


def named(encoder: str, disclosed: Mapping[str, str]) -> str:
    """An encoder's name, with what has to be said of it: "supervised (trained with labels)"."""
    return f"{encoder} ({disclosed[encoder]})" if encoder in disclosed else encoder


def spelled(titles: Mapping[str, str], disclosed: Mapping[str, str]) -> dict[str, str]:
    """Encoder -> what it is, and what has to be said of it: "supervised contrastive learning, trained with labels"."""
    both = {encoder: (titles.get(encoder), disclosed.get(encoder)) for encoder in titles | disclosed}
    return {encoder: ", ".join(filter(None, texts)) for encoder, texts in both.items() if any(texts)}


def enumerate_words(words: Sequence[str]) -> str:
    """Join words: "a", "a and b", "a, b and c"."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def some_of(names: Sequence[str], others: int) -> str:
    """Names, or how many of how many others where there are too many for a sentence."""
    return enumerate_words(names) if len(names) <= NAMED else f"{len(names)} of the {others} others"


@dataclass(frozen=True)
class Score:
    """A value with its 95 % interval, fractions in [0, 1]; NaN where nothing was measured."""

    value: float
    low: float
    high: float

    @property
    def measured(self) -> bool:
        """True where value and interval are there."""
        return not any(map(missing, (self.value, self.low, self.high)))

    def __str__(self) -> str:
        return f"{percent(self.value)} {span(self.low, self.high)}".strip()


def score(row: Mapping[str, Any], metric: str) -> Score:
    """A metric's score in a row of leaderboard.csv."""
    return Score(*(math.nan if missing(v) else v for v in (row[metric], row[f"{metric}_low"], row[f"{metric}_high"])))


def compared(comparisons: Iterable[Mapping[str, Any]], a: str, b: str, metric: str) -> tuple[str, Score]:
    """What can be said of encoder `a` beside encoder `b`, and by how much.

    Args:
        comparisons: rows of comparisons.csv of one dataset and size.
        a: an encoder.
        b: another one; in the rows it may stand first.
        metric: a column of the leaderboard.

    Returns:
        "better", "worse", "not resolved", "identical" or "not measured", and the difference a - b with its interval.
    """
    for row in comparisons:
        if row["metric"] != metric or {row["a"], row["b"]} != {a, b}:
            continue
        if row["a"] == a:
            return row["word"], Score(row["difference"], row["low"], row["high"])
        return OPPOSITE.get(row["word"], row["word"]), Score(-row["difference"], -row["high"], -row["low"])
    return NOT_MEASURED, Score(math.nan, math.nan, math.nan)


def relation(comparisons: Iterable[Mapping[str, Any]], a: str, b: str, metric: str = "precision") -> str:
    """The word of `compared` alone."""
    return compared(comparisons, a, b, metric)[0]


def points(difference: Score) -> str:
    """A difference of fractions in percentage points, "+1.3 points [+0.4, +2.2]"; empty where there is none."""
    if not difference.measured:
        return ""
    value, low, high = (signed(part) for part in (difference.value, difference.low, difference.high))
    return f"{value} points [{low}, {high}]"


def signed(difference: float) -> str:
    """A difference of fractions in percentage points, "+1.3"; 0 has no sign, what rounds to it keeps its own."""
    return "0.0" if difference == 0 else f"{100 * difference:+.1f}".replace("-", "\N{MINUS SIGN}")


def beside_constant(a: Score, constant: float | None) -> str:
    """What can be said of `a` beside a number known without error, such as chance."""
    if not a.measured or missing(constant):
        return NOT_MEASURED
    if a.low > constant:
        return BETTER
    return WORSE if a.high < constant else NOT_RESOLVED


@dataclass(frozen=True)
class Finding:
    """One comparison: what with what, the word for it, and the numbers behind it."""

    subject: str
    word: str
    detail: str


@dataclass(frozen=True)
class Verdict:
    """What a dataset and size came to: the conclusion, its comparisons, and what limits it."""

    word: str
    heading: str
    findings: list[Finding] = field(default_factory=list)
    caveats: list[str] = field(default_factory=list)


def of_hundred(*values: float) -> list[str]:
    """Fractions as "63" of 100; as "63.2" if two different ones would read the same."""
    whole = [f"{100 * value:.0f}" for value in values]
    return whole if len(set(whole)) == len(set(values)) else [f"{100 * value:.1f}" for value in values]


def _conclusion(
    scores: Mapping[str, Score],
    chance: float | None,
    comparisons: Sequence[Mapping[str, Any]],
    disclosed: Mapping[str, str],
) -> tuple[str, str]:
    """The word and the answer in a sentence, with numbers that need no statistics to be read.

    What else there is to say of the best (`visrec.report.lead`) follows it on the page.
    """
    if not scores:
        return NOT_MEASURED, "No encoder gave an embedding that could be scored."
    best = max(scores, key=lambda encoder: scores[encoder].value)
    others = [encoder for encoder in scores if encoder != best]
    first = named(best, disclosed)
    if not others:
        return NOT_MEASURED, f"Only {first} could be scored ({scores[best]}): there is nothing to compare it with."
    words = {encoder: relation(comparisons, best, encoder) for encoder in others}
    behind = [word == BETTER for word in words.values()]
    show = "of 100 recommended pictures show the query's class"
    show += "" if missing(chance) else f" (guessing: {of_hundred(chance)[0]})"
    ranked = sorted(scores, key=lambda encoder: -scores[encoder].value)
    most, _ = of_hundred(scores[best].value, scores[ranked[1]].value)
    if all(behind):
        return BETTER, f"{first} recommends best: {most} {show}."
    if any(behind):
        close = some_of([encoder for encoder, word in words.items() if word in EQUAL], len(others))
        over = f", without a measurable lead over {close}" if close else ""
        return NOT_RESOLVED, f"{first} scores highest{over}: {most} {show}."
    least, most = of_hundred(scores[ranked[-1]].value, scores[best].value)
    between = most if least == most else f"{least} to {most}"
    return NOT_RESOLVED, f"No encoder stands out: {between} {show}, whichever is taken."


def _beside_baselines(
    rows: Mapping[str, Mapping[str, Any]],
    comparisons: Sequence[Mapping[str, Any]],
    encoder: str,
    subject: str,
    k: int,
) -> Iterable[Finding]:
    """An encoder beside those of `BASELINES`, at precision; `subject` is what the encoder is called."""
    label, mine = METRICS["precision"].format(k=k), score(rows[encoder], "precision")
    for other, baseline in BASELINES.items():
        if other == encoder:
            continue
        if other not in rows:
            yield Finding(f"{subject} vs. {baseline}", NOT_MEASURED, f"the encoder {other} is not in this report")
            continue
        word, difference = compared(comparisons, encoder, other, "precision")
        detail = f"{label}: {mine} vs. {score(rows[other], 'precision')}"
        apart = f"; difference {points(difference)}" if difference.measured else ""
        yield Finding(f"{subject} vs. {baseline}", word, detail + apart)


def verdict(
    rows: Sequence[Mapping[str, Any]],
    trained: Iterable[str],
    comparisons: Sequence[Mapping[str, Any]],
    disclosed: Mapping[str, str] = MappingProxyType({}),
    titles: Mapping[str, str] = MappingProxyType({}),
) -> Verdict:
    """The verdict on one dataset and size.

    Args:
        rows: its rows of leaderboard.csv, one per encoder.
        trained: the encoders among them that are trained networks; each is set beside its untrained self, raw pixels,
            chance and the most common class.
        comparisons: the rows of comparisons.csv of this dataset and size.
        disclosed: encoder -> what has to be said wherever it is named, see `visrec.report.inputs.disclosures`.
        titles: encoder -> what it is, by which the heading spells out its name.
    """
    by_encoder = {row["encoder"]: row for row in rows}
    trained = [encoder for encoder in trained if encoder in by_encoder]
    names = {metric: METRICS[metric].format(k=rows[0]["k"]) for metric in METRICS}
    scores = {row["encoder"]: score(row, "precision") for row in rows}
    scores = {encoder: one for encoder, one in scores.items() if one.measured}
    chance = next((row["precision_chance"] for row in rows if not missing(row["precision_chance"])), None)
    word, heading = _conclusion(scores, chance, comparisons, spelled(titles, disclosed))

    findings: list[Finding] = []
    for encoder in trained:
        row, subject = by_encoder[encoder], named(encoder, disclosed)
        findings += _beside_baselines(by_encoder, comparisons, encoder, subject, row["k"])
        chance, mine = row["precision_chance"], score(row, "precision")
        findings.append(
            Finding(
                f"{subject} vs. chance",
                beside_constant(mine, chance),
                f"{names['precision']}: {mine} vs. {percent(chance)}",
            )
        )
        linear = score(row, "svm_accuracy")
        findings.append(
            Finding(
                f"{subject} vs. always guessing the most common class",
                beside_constant(linear, row["majority"]),
                f"{names['svm_accuracy']}: {linear} vs. {percent(row['majority'])}",
            )
        )

    caveats = []
    if not trained:
        caveats.append("No trained network is in this report.")
    for row in rows:
        if row["trials"] > row["trials_ok"]:
            lost = f"{row['trials'] - row['trials_ok']} of {row['trials']} trials of {named(row['encoder'], disclosed)}"
            caveats.append(f"{lost} gave no score: collapsed, diverged or unfinished, see the runs.")
        if row.get("status") == "unstable":
            caveats.append(
                f"The training of {named(row['encoder'], disclosed)} is unstable ({row['reason']}): its scores are "
                "those of networks that no longer do what they are trained for."
            )
    lone = [named(encoder, disclosed) for encoder in trained if by_encoder[encoder]["n_seeds"] == 1]
    if lone:
        caveats.append(
            f"There is one seed of {enumerate_words(lone)}: the intervals cover the choice of query images, not the "
            "luck of training, so even a measurable difference speaks of this one network only."
        )
    caveats += together(comparisons)
    return Verdict(word, heading, findings, caveats)


def common(
    rows: Iterable[Mapping[str, Any]],
    comparisons: Sequence[Mapping[str, Any]],
    chance: float | None,
    disclosed: Mapping[str, str] = MappingProxyType({}),
    titles: Mapping[str, str] = MappingProxyType({}),
) -> Verdict:
    """The verdict on several datasets and sizes together, by the plain means of the encoders that are on all of them.

    Args:
        rows: of overall.csv.
        comparisons: of overall_pairs.csv.
        chance: of precision, its mean over the same datasets and sizes.
        disclosed: as for `verdict`.
        titles: as for `verdict`.
    """
    scores = {
        row["encoder"]: Score(row["value"], row["low"], row["high"]) for row in rows if row["metric"] == "precision"
    }
    word, heading = _conclusion(scores, chance, comparisons, spelled(titles, disclosed))
    return Verdict(word, heading, [], together(comparisons))


def together(comparisons: Iterable[Mapping[str, Any]], metric: str = "precision") -> list[str]:
    """What is said of the number of comparisons: a sentence where there are several."""
    pairs = judged(comparisons, metric)
    if pairs < 2:
        return []
    return [
        f"All {pairs} pairs of encoders are judged together: where no two differ, the chance that any of them is "
        "called better or worse is 5\N{NO-BREAK SPACE}%, not 5\N{NO-BREAK SPACE}% for each."
    ]


def judged(comparisons: Iterable[Mapping[str, Any]], metric: str = "precision") -> int:
    """How many pairs were compared."""
    return sum(row["metric"] == metric and row["word"] != NOT_MEASURED for row in comparisons)
