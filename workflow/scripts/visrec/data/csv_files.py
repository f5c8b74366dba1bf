"""CSV tables of our own, read without a guess at types: a dataset may be called 2024, and a class NA or 1e5.

Every CSV file that a job wrote is read here: what is text, is known by the name of its column.
"""

import csv
import io
import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from visrec.errors import UserError

TEXT = {"dataset", "encoder", "trial", "setting", "evaluator", "protocol", "metric", "split", "distance", "features"}
TEXT |= {"average", "duplicates", "status", "reason", "layer", "layers", "batchnorm", "variant", "pooling", "note"}
TEXT |= {"selector", "better", "best_trial", "a", "b", "trial_a", "trial_b", "word", "chosen_by", "beside_chosen"}
TRUTH = {"chosen"}
WHOLE = {"size", "seed", "k", "n", "rank", "iteration", "start", "stop", "dimensions"}

# A cell that begins with one of these, or their full-width forms, is a formula for some spreadsheet.
FORMULA = tuple("=+-@\t\r\n＝＋－＠")
RETURN = "\ue00d"  # stands for a carriage return, which the csv module would take for the end of a row


def as_text(word: str) -> str:
    """A user's word in a CSV for people: with ' before what a spreadsheet would calculate, and before its own '.

    So who takes the first ' away has the word again.
    """
    return f"'{word}" if word.startswith((*FORMULA, "'")) else word


def read_text(path: str | Path, separator: str = ",") -> pd.DataFrame:
    """A table as it is written: all cells are text, "" where there is nothing.

    Raises:
        UserError: the file cannot be read, or is no table in UTF-8.
    """
    try:
        text = Path(path).read_bytes().decode("utf-8")
        if text.partition("\n")[0].endswith("\r"):  # as csv.writer ends its rows
            text = text.replace("\r\n", "\n")
        text = text.replace("\r", RETURN)
        header, *rows = [*csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)] or [[]]
    except FileNotFoundError as error:
        raise UserError(f"{path}: is missing; run again") from error
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"{path}: is not a table in UTF-8 ({error}); delete it and run again") from error
    if len(set(header)) < max(1, len(header)):
        raise UserError(f"{path}: is no table, its columns have no names of their own; delete it and run again")
    wrong = next((number for number, row in enumerate(rows) if len(row) != len(header)), None)
    if wrong is not None:
        raise UserError(
            f"{path}: row {wrong + 1} has {len(rows[wrong])} cells under {len(header)} names; delete it and run again"
        )
    table = pd.DataFrame(rows, columns=header, dtype=str)
    return table.replace(RETURN, "\r", regex=True) if RETURN in text else table


def read_table(
    path: str | Path,
    needed: Iterable[str] = (),
    text: Iterable[str] = (),
    numbers: Iterable[str] = (),
    words: Iterable[str] = (),
) -> pd.DataFrame:
    """A table with the columns `TEXT` as text ("" where there is nothing), `TRUTH` as bool and all others as numbers.

    A column of numbers is int64 if all of it are whole numbers, else float64 with NaN where there is nothing.

    Args:
        path: the file.
        needed: columns that must be there.
        text: further columns of text.
        numbers: columns that are numbers here, though such names are of text in other tables.
        words: columns of text that was written by `as_text`.

    Raises:
        UserError: the file cannot be read, a column is missing, or a cell is not of its column's type.
    """
    table = read_text(path)
    lacking = [name for name in needed if name not in table]
    if lacking:
        raise UserError(f"{path}: has no column '{lacking[0]}'; delete it and run again")
    known = (TEXT | set(text) | set(words)) - set(numbers)
    table = table.assign(**{name: table[name].str.removeprefix("'") for name in words})
    return table.assign(**{name: _typed(path, name, table[name]) for name in table.columns if name not in known})


def _typed(path: str | Path, name: str, cells: pd.Series) -> pd.Series:
    if name in TRUTH:
        wrong = ~cells.isin(["True", "False"])
        if not wrong.any():
            return cells == "True"
        raise UserError(_cell(path, name, cells[wrong], "True or False"))
    known = {cell: _number(cell) for cell in cells.unique()}
    values = np.array([known[cell] for cell in cells], dtype=object)
    wrong = np.array([value is None for value in values], dtype=bool)
    if wrong.any():
        raise UserError(_cell(path, name, cells[wrong], "a number"))
    if len(values) and all(isinstance(value, int) for value in values):
        return pd.Series(values.astype(np.int64), cells.index)
    numbers = values.astype(np.float64)
    if name in WHOLE and not (np.isnan(numbers) | (np.floor(numbers) == numbers)).all():
        wrong = ~(np.isnan(numbers) | (np.floor(numbers) == numbers))
        raise UserError(_cell(path, name, cells[wrong], "a whole number"))
    return pd.Series(numbers, cells.index)


def _number(cell: str) -> int | float | None:
    """The number in a cell, NaN where there is nothing, None if it is none."""
    if not cell:
        return math.nan
    if not cell.isascii() or "_" in cell or cell != cell.strip():
        return None
    try:
        whole = int(cell)
    except ValueError:
        pass
    else:
        return whole if abs(whole) < 2**63 else float(whole) if abs(whole) < 2**1000 else None
    try:
        return float(cell)
    except ValueError:
        return None


def _cell(path: str | Path, name: str, wrong: pd.Series, wanted: str) -> str:
    first = str(wrong.iloc[0])[:40]
    return f"{path} row {wrong.index[0] + 1}: '{name}' is {first!r}, not {wanted}; delete the file and run again"
