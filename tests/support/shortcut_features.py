"""Features with a planted shortcut, for methods that balance groups; numpy alone."""

import numpy as np
from numpy.typing import NDArray


def shortcut_features(
    n: int, rate: float, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.bool_]]:
    """Return features (n, 6), classes 0 or 1 (n,), and whether the shortcut shows 1 (n,).

    A weak feature shows the class, and a strong one does for a share ``rate``.
    """
    rng = np.random.default_rng(seed)
    classes = rng.integers(0, 2, n)
    shortcut = np.where(rng.random(n) < rate, classes, 1 - classes)
    features = rng.normal(size=(n, 6))
    features[:, 0] += 1.5 * (2 * classes - 1)
    features[:, 1] += 8 * (2 * shortcut - 1)
    features[:, 2] = 5.0  # a dead unit
    return features, classes, shortcut == 1
