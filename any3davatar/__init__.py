"""Any3DAvatar: one portrait to a full 3D Gaussian head, and the library around it.

Start with `any3davatar.core`, which states every convention, then `any3davatar.render`.
"""
