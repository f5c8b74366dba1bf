"""One sheet of small pictures per dataset and size, which the page cuts into its pictures."""

import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from visrec.data.hdf5 import IMAGES, reading
from visrec.errors import UserError
from visrec.report.sheets import data_uri, webp

WIDEST = 16_383  # pixels of a side that WebP allows
SIDE = 64  # of a cell at most, in pixels; larger pictures are made smaller
QUALITY = 80  # of WebP; a page has some two thousand pictures in sheets


@dataclass(frozen=True)
class Sprite:
    """Pictures on one sheet: number n is in row n // columns, column n % columns.

    Attributes:
        uri: the sheet as WebP, as a data: URI; "" if it has no pictures.
        side: of a cell, in pixels.
        columns: cells in a row.
        rows: rows of cells.
    """

    uri: str
    side: int
    columns: int
    rows: int

    def position(self, number: int) -> str:
        """CSS `background-position` of a picture on an element of whatever size, of which the sheet fills so many."""
        row, column = divmod(number, self.columns)
        return " ".join(
            f"{100 * at / max(1, count - 1):.6g}%" for at, count in ((column, self.columns), (row, self.rows))
        )


@dataclass
class Pictures:
    """The pictures that a chapter shows: each is asked for once, and gets a number.

    Attributes:
        numbers: (split, id) -> number, in the order of asking.
        labels: the class name of each, "" without.
    """

    numbers: dict[tuple[str, str], int] = field(default_factory=dict)
    labels: list[str] = field(default_factory=list)

    def number(self, split: str, name: str, label: str) -> int:
        """The number of a picture, which from now on is on the sheet."""
        key = split, name
        if key not in self.numbers:
            self.numbers[key] = len(self.numbers)
            self.labels.append(label)
        return self.numbers[key]

    def data(self) -> list[dict[str, str]]:
        """What the page knows of each picture by its number: id, label and split."""
        return [
            {"id": name, "label": label, "split": split}
            for (split, name), label in zip(self.numbers, self.labels, strict=True)
        ]

    def sprite(self, path: str | Path) -> Sprite:
        """Draw the sheet from images.h5.

        Raises:
            UserError: images.h5 cannot be read, an id is not in its split, or the pictures are too many for one sheet.
        """
        with reading(path, IMAGES) as file:
            side = min(SIDE, int(file.attrs["size"]))
            columns = max(1, math.ceil(math.sqrt(len(self.numbers))))
            rows = math.ceil(len(self.numbers) / columns)
            if columns * side > WIDEST:
                raise UserError(
                    f"{path}: the page would show {len(self.numbers)} pictures, more than one sheet holds; "
                    "lower report.queries, report.neighbours or report.points"
                )
            sheet = Image.new("RGB", (columns * side, rows * side))
            index = {
                split: {name: row for row, name in enumerate(file[split]["ids"].asstr()[:])}
                for split in dict.fromkeys(split for split, _ in self.numbers)
            }
            for (split, name), number in self.numbers.items():
                if name not in index[split]:
                    raise UserError(
                        f"{path}: a trial's neighbours.csv or projection.csv names image '{name}', which is not in "
                        f"{split}; run embed again"
                    )
                # Row by row: the report shows some two thousand of up to a hundred thousand.
                picture = Image.fromarray(np.moveaxis(file[split]["images"][index[split][name]], 0, 2))
                if picture.width != side:
                    picture = picture.resize((side, side), Image.Resampling.BOX)
                row, column = divmod(number, columns)
                sheet.paste(picture, (column * side, row * side))
        uri = data_uri(webp(sheet, QUALITY), "image/webp") if self.numbers else ""
        return Sprite(uri, side, columns, rows)
