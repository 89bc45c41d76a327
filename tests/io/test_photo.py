import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms, ImageOps

from any3davatar.io import FormatError, read_photo
from any3davatar.io.photo import SIDE_KEPT_PX


def gradient(height: int = 40, width: int = 60) -> np.ndarray:
    """Nothing in it is symmetric."""
    y, x = np.mgrid[0:height, 0:width]
    return np.dstack([x * 4, y * 6, np.full_like(x, 30)]).astype(np.uint8)


def saved(folder: Path, image: Image.Image, suffix: str, **options: Any) -> Path:
    path = folder / f"photo{suffix}"
    image.save(path, **options)
    return path


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".webp"])
def test_lossless_formats_come_back_exactly(tmp_path: Path, suffix: str) -> None:
    options = {"lossless": True} if suffix == ".webp" else {}
    photo = read_photo(saved(tmp_path, Image.fromarray(gradient()), suffix, **options))
    expected = torch.from_numpy(gradient()).permute(2, 0, 1) / 255
    assert torch.equal(photo.rgb, expected)
    assert photo.alpha is None
    assert photo.notes == ()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_as_pillow_does(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path, Image.fromarray(gradient()), ".png", exif=exif)
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    photo = read_photo(path)
    assert np.array_equal((photo.rgb * 255).round().permute(1, 2, 0).numpy(), expected)
    assert ("turned upright by EXIF" in photo.notes) == (orientation > 1)


def test_grey_pictures_of_8_and_16_bits_are_grey(tmp_path: Path) -> None:
    grey = gradient()[:, :, 0]
    eight = read_photo(saved(tmp_path, Image.fromarray(grey), ".png"))
    sixteen = read_photo(saved(tmp_path, Image.fromarray(grey.astype(np.uint16) * 257), ".tif"))
    assert torch.equal(eight.rgb, sixteen.rgb)  # 257 x is x at 16 bits
    assert torch.equal(eight.rgb[0], eight.rgb[2])
    assert any("reduced to 8 bits" in note for note in sixteen.notes)


def test_cmyk_is_converted_and_said(tmp_path: Path) -> None:
    photo = read_photo(saved(tmp_path, Image.fromarray(gradient()).convert("CMYK"), ".tif"))
    expected = torch.from_numpy(gradient()).permute(2, 0, 1) / 255
    assert float((photo.rgb - expected).abs().max()) < 0.02  # Pillow's inversion rounds
    assert "CMYK converted to RGB" in photo.notes


def test_an_embedded_profile_is_converted_to_srgb(tmp_path: Path) -> None:
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    same = read_photo(saved(tmp_path, Image.fromarray(gradient()), ".png", icc_profile=lab))
    expected = torch.from_numpy(gradient()).permute(2, 0, 1) / 255
    assert float((same.rgb - expected).abs().max()) <= 1.01 / 255
    broken = saved(tmp_path, Image.fromarray(gradient()), ".png", icc_profile=b"no profile at all")
    photo = read_photo(broken)
    assert torch.equal(photo.rgb, expected)
    assert any("colour profile can't be used" in note for note in photo.notes)


def test_alpha_is_straight_and_an_opaque_one_is_none(tmp_path: Path) -> None:
    alpha = np.linspace(0, 255, 40 * 60).reshape(40, 60).astype(np.uint8)
    rgba = np.dstack([gradient(), alpha])
    photo = read_photo(saved(tmp_path, Image.fromarray(rgba), ".png"))
    assert photo.alpha is not None
    assert np.array_equal((photo.alpha[0] * 255).round().numpy(), alpha)
    assert np.array_equal((photo.rgb * 255).round().permute(1, 2, 0).numpy(), gradient())
    opaque = np.dstack([gradient(), np.full((40, 60), 255, np.uint8)])
    assert read_photo(saved(tmp_path, Image.fromarray(opaque), ".png")).alpha is None


def test_a_palette_with_transparency_has_alpha(tmp_path: Path) -> None:
    image = Image.fromarray(gradient()).quantize(16)
    photo = read_photo(saved(tmp_path, image, ".png", transparency=0))
    assert photo.alpha is not None
    assert 0 < float(photo.alpha.mean()) < 1


def test_of_an_animation_the_first_picture_is_taken_and_said(tmp_path: Path) -> None:
    frames = [Image.fromarray(gradient()), Image.fromarray(255 - gradient())]
    path = saved(tmp_path, frames[0], ".webp", save_all=True, append_images=frames[1:])
    photo = read_photo(path)
    assert "the first of 2 pictures" in photo.notes
    assert float(photo.rgb[0, 0, 0]) < 0.1


def test_a_large_photograph_is_reduced_and_a_bomb_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, Image.new("RGB", (11_000, 9_100), (200, 100, 50)), ".jpg")  # 100 MP
    photo = read_photo(path)
    assert max(photo.rgb.shape[1:]) <= SIDE_KEPT_PX
    assert photo.notes == ("reduced from 11000 x 9100 pixels",)  # the file's, not the decoder's
    assert abs(photo.rgb.shape[2] / photo.rgb.shape[1] - 110 / 91) < 0.01
    assert float((photo.rgb[:, 5, 5] - torch.tensor([200, 100, 50]) / 255).abs().max()) < 0.02
    bomb = saved(tmp_path, Image.new("1", (20_000, 10_000)), ".png")
    with pytest.raises(FormatError, match=r"photo.png: (got 20000 x 10000|.*DecompressionBomb)"):
        read_photo(bomb)


def test_what_is_no_picture_is_refused_with_words(tmp_path: Path) -> None:
    tiny = saved(tmp_path, Image.new("RGB", (8, 200)), ".png")
    with pytest.raises(FormatError, match="got 8 x 200 pixels, expected at least 16"):
        read_photo(tiny)
    whole = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (200, 200, 3), np.uint8)
    Image.fromarray(noise).save(whole, "JPEG")
    for name, content, problem in (
        ("cut.jpg", whole.getvalue()[:9000], "not a readable picture"),
        ("empty.png", b"", "not a picture of a format that is read"),
        ("text.jpg", b"<html>not found</html>", "not a picture of a format that is read"),
    ):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(FormatError, match=re.escape(f"{name}: {problem}")):
            read_photo(path)
    with pytest.raises(FormatError, match="a folder"):
        read_photo(tmp_path)
    with pytest.raises(FileNotFoundError):
        read_photo(tmp_path / "absent.png")
