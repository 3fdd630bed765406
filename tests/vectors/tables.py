"""The tables of docs/protocol/*.md."""

from tests.vectors.pages import FOLDER

__all__ = ["Row", "read"]

Row = dict[str, str]  # cells by the heads of their columns


def read(page: str, *heads: str) -> list[Row]:
    """Return the rows of the one table of a page whose first columns have these heads."""
    found: list[list[Row]] = []
    columns: list[str] | None = None
    for line in (FOLDER / page).read_text("utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")] if line.startswith("|") else None
        if cells is None:
            columns = None
        elif columns is None:
            columns = cells
            if tuple(cells[: len(heads)]) == heads:
                found.append([])
        elif tuple(columns[: len(heads)]) == heads and not set("".join(cells)) <= {"-"}:
            found[-1].append(dict(zip(columns, cells, strict=True)))
    assert len(found) == 1, f"{len(found)} tables with {heads} in {page}"
    return found[0]
