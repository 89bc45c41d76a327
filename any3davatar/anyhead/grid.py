"""Views in one picture, row by row, and back: what an image editor is given (appendix C.1)."""

from jaxtyping import Float
from torch import Tensor

from any3davatar.anyhead.errors import DataError

GRID_ROWS = 4
GRID_COLUMNS = 4


def join_grid(
    pictures: Float[Tensor, "V C H W"], rows: int = GRID_ROWS, columns: int = GRID_COLUMNS
) -> Float[Tensor, "C GH GW"]:
    """Arrange rows x columns pictures into one, without a gap.

    Raises:
        DataError: another number of pictures.
    """
    count, channels, height, width = pictures.shape
    if count != rows * columns:
        raise DataError(f"a {rows} x {columns} grid takes {rows * columns} pictures; got {count}")
    cells = pictures.reshape(rows, columns, channels, height, width)
    return cells.permute(2, 0, 3, 1, 4).reshape(channels, rows * height, columns * width)


def split_grid(
    grid: Float[Tensor, "C GH GW"], rows: int = GRID_ROWS, columns: int = GRID_COLUMNS
) -> Float[Tensor, "V C H W"]:
    """Cut a grid into its pictures: the inverse of `join_grid`.

    Raises:
        DataError: the grid's sides are no multiples of its rows and columns.
    """
    channels, grid_height, grid_width = grid.shape
    if grid_height % rows or grid_width % columns:
        raise DataError(
            f"got a grid of {grid_width} x {grid_height} pixels, expected multiples of {columns} "
            f"and {rows}"
        )
    height, width = grid_height // rows, grid_width // columns
    cells = grid.reshape(channels, rows, height, columns, width)
    return cells.permute(1, 3, 0, 2, 4).reshape(rows * columns, channels, height, width)
