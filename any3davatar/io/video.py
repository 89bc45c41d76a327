"""MP4 videos: H.264 out, anything that FFmpeg decodes in, through PyAV.

Videos are for eyes: 8 bits, colour at half resolution, lossy. What is to be scored is written as
PNG. Colour is coded by ITU-R BT.709 and the file says so; a player that is told nothing guesses.
Reading goes by what a file says, or BT.601 where it says nothing, as FFmpeg does (PyAV before 17
takes BT.601 for everything: reds come out lighter by a tenth).
"""

import itertools
import os
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from any3davatar.core.errors import InvalidInput
from any3davatar.io.atomic import atomic_path
from any3davatar.io.errors import FormatError
from any3davatar.io.limits import PIXELS_MAX
from any3davatar.io.opening import open_regular

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

_BT709 = 1  # the number of BT.709 in all three tables of ITU-T H.273, and in FFmpeg


def write_mp4(
    path: str | os.PathLike[str],
    frames: Iterable[Float[Tensor, "3 H W"]],
    *,
    fps: int | Fraction = 30,
    crf: int = 18,
) -> None:
    """Write an H.264 video (yuv420p, plays while it downloads), taking the frames one by one.

    Args:
        path: the file.
        frames: (3, H, W) pictures in [0, 1] (clipped outside), all of one even size.
        fps: frames a second.
        crf: x264's quality, 0 (lossless but for the colour conversion) to 51; 18 looks lossless.

    Raises:
        InvalidInput: no frames, an odd size, a size that changes, values that are not finite, or
            numbers out of range. Nothing is written then.
        FormatError: this build of PyAV has no H.264 encoder.
        OSError: the file can't be written.
    """
    import av
    from av.codec import codecs_available
    from av.video.frame import VideoFrame

    if fps <= 0 or not 0 <= crf <= 51:
        raise InvalidInput(f"a video needs fps > 0 and crf in [0, 51]; got {fps} and {crf}")
    if "libx264" not in codecs_available:
        raise FormatError(
            f"{path}: this build of PyAV has no encoder 'libx264'; install the wheel from PyPI, or "
            "write the frames as PNG"
        )
    remaining = iter(frames)
    first = next(remaining, None)
    if first is None:
        raise InvalidInput("a video needs at least one frame; got none")
    _check_frame(first, first, 0)
    height, width = first.shape[1:]
    options = {"movflags": "+faststart", "fflags": "+bitexact"}
    with (
        atomic_path(path) as temporary,
        av.open(str(temporary), "w", format="mp4", options=options) as container,
    ):
        stream = container.add_stream("libx264", rate=Fraction(fps), options={"crf": str(crf)})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        encoder = stream.codec_context
        encoder.color_primaries = encoder.color_trc = encoder.colorspace = _BT709
        for index, frame in enumerate(itertools.chain([first], remaining)):
            _check_frame(frame, first, index)
            values = np.asarray(frame.detach().cpu().float(), np.float64)
            levels = np.rint(values.clip(0, 1) * 255)
            pixels = np.ascontiguousarray(np.moveaxis(levels.astype(np.uint8), 0, -1))
            picture = VideoFrame.from_ndarray(pixels, format="rgb24")
            coded = picture.reformat(
                format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG"
            )
            container.mux(stream.encode(coded))
        container.mux(stream.encode(None))


def read_video_frames(path: str | os.PathLike[str]) -> Iterator[Float[Tensor, "3 H W"]]:
    """Iterate over the frames of a video in the order of display, decoding as they are asked for.

    Rotation that the container asks players for is not applied.

    Yields:
        (3, H, W) float32 in [0, 1], multiples of 1/255.

    Raises:
        FormatError: no readable video, at once; damaged or missing frames, when they are reached.
        OSError: the file can't be opened.
    """
    decoded = _decode(path)
    first = next(decoded)  # so that a wrong file is refused here and not at its first use
    return (_as_tensor(frame) for frame in itertools.chain([first], decoded))


def read_video_frame(path: str | os.PathLike[str], index: int) -> Float[Tensor, "3 H W"]:
    """Return frame `index` (from 0, in the order of display), (3, H, W) float32 in [0, 1].

    All frames before it are decoded: containers' own indices and time stamps are not exact.

    Raises:
        FormatError: no readable video, or one with fewer frames.
        InvalidInput: a negative index.
        OSError: the file can't be opened.
    """
    if index < 0:
        raise InvalidInput(f"frames are numbered from 0; got {index}")
    number = -1
    for number, frame in enumerate(_decode(path)):
        if number == index:
            return _as_tensor(frame)
    raise FormatError(f"{path}: the video has {number + 1} frames; frame {index} was asked for")


def _decode(path: str | os.PathLike[str]) -> "Iterator[VideoFrame]":
    import av
    from av.error import FFmpegError

    decoded = 0
    with open_regular(path) as (file, _):
        try:
            with av.open(file, "r", metadata_errors="ignore") as container:
                if not container.streams.video:
                    raise FormatError(f"{path}: holds no video; is it a sound file?")
                stream = container.streams.video[0]
                decoder = stream.codec_context
                if decoder is None:
                    raise FormatError(f"{path}: the video is coded in a way unknown to FFmpeg")
                if not 0 < decoder.width * decoder.height <= PIXELS_MAX:
                    raise FormatError(
                        f"{path}: got {decoder.width} x {decoder.height} pixels, expected 1 to "
                        f"{PIXELS_MAX} in all"
                    )
                # Otherwise the decoder paints over damage and says nothing.
                decoder.options = {"err_detect": "explode"}
                for frame in container.decode(stream):
                    if frame.is_corrupt or frame.width * frame.height > PIXELS_MAX:
                        raise FormatError(f"{path}: frame {decoded} is damaged")
                    yield frame
                    decoded += 1
                promised = stream.frames
        except (FFmpegError, EOFError) as error:
            raise FormatError(
                f"{path}: not a readable video ({error}); it is damaged, truncated or of another "
                f"format. {decoded} frames could be decoded"
            ) from error
    if decoded < max(promised, 1):
        raise FormatError(
            f"{path}: got {decoded} frames, the file promises {promised}; it is truncated, or an "
            "edit list hides frames (encode the video again to settle which ones it has)"
        )


def _as_tensor(frame: "VideoFrame") -> Float[Tensor, "3 H W"]:
    pixels = np.moveaxis(frame.to_ndarray(format="rgb24"), -1, 0)
    return torch.from_numpy(pixels.astype(np.float32, order="C") / np.float32(255))


def _check_frame(frame: Tensor, first: Tensor, index: int) -> None:
    if frame.ndim != 3 or frame.shape[0] != 3 or not frame.is_floating_point():
        raise InvalidInput(
            f"frame {index} must be a floating-point (3, H, W) tensor; got {frame.dtype} "
            f"{tuple(frame.shape)}"
        )
    height, width = frame.shape[1:]
    if frame.shape != first.shape:
        raise InvalidInput(
            f"all frames of a video have one size; frame 0 is {tuple(first.shape)}, frame {index} "
            f"is {tuple(frame.shape)}"
        )
    if height % 2 or width % 2 or not 0 < height * width <= PIXELS_MAX:
        raise InvalidInput(
            f"a video's width and height must be even (colour has half resolution); got "
            f"{width} x {height}: render or crop to even sizes"
        )
    if not bool(torch.isfinite(frame).all()):
        raise InvalidInput(f"frame {index} must be finite; got NaN or infinite values")
