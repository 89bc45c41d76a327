"""Measure `any3davatar.portraits.TEMPLATE`: where a frontal camera sees the five points of a face.

``python docs/face_template.py`` prints means and spreads over 64 neutral heads of the training
seeds, in x / z and y / z of the canonical front camera. Two minutes.
"""

import torch

from any3davatar.anyhead import people
from any3davatar.anyhead.ready import training_seeds
from any3davatar.core.images import composite
from any3davatar.core.rigs import canonical_four
from any3davatar.faces import FaceMesh, five_points

HEADS = 64
SIZE_PX = 256
FOV_DEG = 24.0

camera = canonical_four(SIZE_PX, vertical_fov_deg=FOV_DEG)[:1]
focal = torch.stack([camera.K[0, 0, 0], camera.K[0, 1, 1]])
center = camera.K[0, :2, 2]
faces = FaceMesh.load()
found = []
for seed in training_seeds(HEADS):
    view = people.drawer(people.person(seed), 1)(camera)[0]
    face = faces.detect(composite(view.rgb, view.alpha, torch.ones(3)))
    if face is not None:
        found.append((five_points(face) - center) / focal)
points = torch.stack(found)
print(f"{len(found)} of {HEADS} faces found")
for mean, spread in zip(points.mean(0).tolist(), points.std(0).tolist(), strict=True):
    print(f"({mean[0]:+.4f}, {mean[1]:+.4f})  spread ({spread[0]:.4f}, {spread[1]:.4f})")
