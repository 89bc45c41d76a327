"""Gaussians as .safetensors: the five tensors of core, bit for bit.

The only lossless format here, for passing Gaussians between stages. Tensors are named as in
`any3davatar.core.Gaussians` and hold the same post-activation values; the metadata names the
format, its version and the conventions. Other tensors, missing tensors and other metadata are
refused: such a file is someone else's.
"""

import os

from any3davatar.core import Gaussians, InvalidInput
from any3davatar.io.atomic import atomic_path
from any3davatar.io.errors import FormatError
from any3davatar.io.opening import open_regular

VERSION = 1
_FORMAT = "any3davatar.gaussians"
_CONVENTIONS = (
    "world +y up, face along +z; post-activation: standard deviations, opacity in [0, 1], "
    "unit quaternions wxyz, 3DGS spherical harmonics"
)
_NAMES = ("means", "quats", "scales", "opacities", "sh")


def write_gaussian_tensors(path: str | os.PathLike[str], gaussians: Gaussians) -> None:
    """Write one set of Gaussians, in its own floating-point type.

    Raises:
        InvalidInput: a batch of sets, or values that no Gaussians have.
        OSError: the file can't be written.
    """
    from safetensors.torch import save

    if gaussians.batch_shape:
        raise InvalidInput(
            f"a file holds one set of Gaussians; got a batch {gaussians.batch_shape}: "
            "index it and write each set to its own file"
        )
    tensors = gaussians.detach().to("cpu").validate().tensors()
    # One key: the library does not promise an order of several, and equal sets should give equal
    # bytes.
    metadata = {_FORMAT: f"version {VERSION}; {_CONVENTIONS}"}
    content = save({name: t.contiguous() for name, t in tensors.items()}, metadata=metadata)
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def read_gaussian_tensors(path: str | os.PathLike[str]) -> Gaussians:
    """Read one set of Gaussians, on the CPU, in the type that it was written in.

    Raises:
        FormatError: damaged, of another version, not ours, or values that no Gaussians have.
        OSError: the file can't be opened.
    """
    from safetensors import SafetensorError, safe_open

    with open_regular(path):
        pass
    try:
        with safe_open(path, framework="pt") as file:
            _check_metadata(path, file.metadata() or {})
            names = set(file.keys())
            if names != set(_NAMES):
                raise FormatError(
                    f"{path}: got the tensors {', '.join(sorted(names)[:12]) or 'none'}; expected "
                    f"exactly {', '.join(_NAMES)}. Is this a file of network weights?"
                )
            tensors = {name: file.get_tensor(name) for name in _NAMES}
    except SafetensorError as error:
        raise FormatError(
            f"{path}: not a readable safetensors file ({error}); it is truncated, damaged or of "
            "another format"
        ) from error
    try:
        gaussians = Gaussians(**tensors).validate()
    except InvalidInput as error:
        raise FormatError(f"{path}: {error}. The file was not written by this library") from error
    if gaussians.batch_shape:
        raise FormatError(
            f"{path}: holds a batch {gaussians.batch_shape} of sets, expected one set; "
            "write each set to its own file"
        )
    return gaussians


def _check_metadata(path: str | os.PathLike[str], metadata: dict[str, str]) -> None:
    about = metadata.get(_FORMAT, "")
    if not about.startswith(f"version {VERSION};"):
        raise FormatError(
            f"{path}: the metadata say {about[:40]!r} under {_FORMAT!r}, expected 'version "
            f"{VERSION}; ...'. The file is not a set of Gaussians, or a newer release wrote it"
        )
