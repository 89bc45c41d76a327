"""The vocabulary of the project: cameras, Gaussians, views, and the conventions they obey.

Conventions, stated here once and enforced where values are built:

* **World**: right-handed, +y up, the face looks along +z, the subject's left is +x, the origin is
  the head's centre and the head lies inside the unit sphere. Other frames are converted at the
  border, by name (`any3davatar.core.frames`).
* **Camera**: OpenCV axes (x right, y down, z forward). Extrinsics are always `world_to_camera`;
  intrinsics `K` are in pixels. Pixel centres lie at half integers: the centre of the top-left
  pixel is (0.5, 0.5).
* **Angles**: azimuth 0 sees the face from the front and grows toward the subject's left;
  elevation is positive when the camera is above. Degrees at the surface, named `_deg`.
* **Images**: float32, channels first, sRGB-encoded, in [0, 1]; alpha is straight (not
  premultiplied); the background is always given explicitly.
* **Gaussians**: always post-activation: standard deviations (not logs), opacity in [0, 1] (not
  logits), unit quaternions (w, x, y, z), spherical-harmonics coefficients with the 3DGS sign
  convention and the +0.5 colour offset applied when they are evaluated.

Letters in shapes: ``B`` batch, ``V`` views, ``N`` Gaussians, ``T`` tokens, ``D`` channels, ``K``
SH coefficients (also the 3x3 intrinsics, where the context is a camera), ``H``, ``W``; ``*b`` any
leading dimensions. Core knows torch and numpy and nothing else of ours.
"""

from any3davatar.core.cameras import Cameras, intrinsics_from_fov
from any3davatar.core.errors import InvalidInput
from any3davatar.core.gaussians import Gaussians
from any3davatar.core.images import Views
from any3davatar.core.similarity import Similarity

__all__ = ["Cameras", "Gaussians", "InvalidInput", "Similarity", "Views", "intrinsics_from_fov"]
