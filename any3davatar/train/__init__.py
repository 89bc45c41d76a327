"""Training: from folders of heads to weights (Any3DAvatar, sections 3.3, 3.4 and 4.1).

Read in this order: `config` (what a run is, presets), `schedule` (learning rate, EMA horizon),
`samples` (what one training sample is; pictures are cropped and mirrored together with their
cameras by `any3davatar.core.framing`), `batches` (order and workers), `hull` and `ways` (where the
network starts), `network` (Eqs. 1 and 4), `perceptual` and `losses` (Eq. 6), `optim`, `ema`,
`checkpoint`, `log`, `pictures`, `loop` (the whole), `plan` (what a run will cost).

Vocabulary: progress is counted in *samples*, so that a batch may change its size without a change
of meaning; a *step* is one update of the weights, after ``batch`` samples over all processes; a
*micro-batch* is what one process pushes through the network at once. Everything random about
sample n is a function of the seed and n: a run has no other random state.

Importing this package imports nothing.
"""
