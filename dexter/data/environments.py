"""Environments of pictures, inferred from a classifier's answers without any group.

Source: EIIL (Creager et al., arXiv 2010.07249, section 3), as EVaLS uses it to choose among weights
(Ghaznavi et al., arXiv 2410.05345): by the accuracy of the worst environment of a class.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def infer(logits: NDArray[np.float64], classes: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Divide pictures into two environments that disagree most about the scale of the logits.

    ``logits``: (n, C), ``classes``: (n,); returns (n,), True for the environment that would have
    the logits smaller. EIIL seeks shares s in [0, 1] of the first environment that maximise
    mean(s g)² + mean((1 - s) g)², where g is the derivative of a picture's cross-entropy by a
    factor w of its logits at w = 1, sum_c p_c f_c - f_y. The sum of both means is fixed, so the
    maximum is where one of them is largest: s = 1 where g > 0. The source climbs there by Adam.
    """
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    slopes = (p * logits).sum(1) - logits[np.arange(len(classes)), classes]
    found: NDArray[np.bool_] = slopes > 0
    return found
