"""Alignment: what is done to a method's pictures before they are scored, by name and on record.

* ``none``: nothing.
* ``landmark2d``: each view moved, turned and scaled in its plane so that its facial landmarks lie
  where the truth's lie; a view without a face takes the subject's median.
* ``sim3``: one similarity of space for the subject, from landmarks triangulated over all views
  that show a face; where the method left Gaussians they are rendered again under it (and the last
  degree is found by the pictures), otherwise each view is moved in its plane as the similarity
  moves the head's centre. It reaches the views from behind too. Where it would put the face no
  nearer to the truth's, the subject keeps its views, and the record says why (`refusal`).

Nothing here sees the shape or colour of the truth but through these few numbers.
"""

from a3d_bench.align.record import AlignedView, AlignmentRecord, read_alignment
from a3d_bench.align.subject import align

__all__ = ["AlignedView", "AlignmentRecord", "align", "read_alignment"]
