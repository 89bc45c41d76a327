"""Faces in pictures: where they are, their landmarks, and the person in front of the background.

`FaceMesh` finds faces, `five_points` gives the points that face recognition aligns by,
`selfie_matte` gives alpha where a photograph has none. The networks are fetched on first use.
"""

from any3davatar.faces.matte import selfie_matte
from any3davatar.faces.mesh import Face, FaceMesh, five_points
from any3davatar.faces.networks import FACE_NETWORKS
from any3davatar.faces.patches import Patch

__all__ = ["FACE_NETWORKS", "Face", "FaceMesh", "Patch", "five_points", "selfie_matte"]
