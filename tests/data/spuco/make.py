"""Write numbers.json: the worst groups of spuco's DFR and GroupDRO on the planted features.

    python -m venv /tmp/spuco && . /tmp/spuco/bin/activate
    pip install --no-deps spuco==2.0.3
    pip install torch==2.13.0 scikit-learn==1.5.2 tqdm pandas pillow
    OMP_NUM_THREADS=1 PYTHONPATH=tests/support python tests/data/spuco/make.py

An environment of its own: spuco pins nothing and needs ten packages more, which stand-ins replace
here because neither method uses them. spuco's DFR scales features only if it is told what by, so
it is given the fitted ones; its GroupDRO takes the rate, decay, step size of groups and number of
steps (25 epochs of 16 batches) of ours. The last entries show what an intercept without a penalty
and no scaling change.
"""

import importlib
import json
import random
import sys
from pathlib import Path
from unittest.mock import MagicMock

import numpy as np
import sklearn
import torch
from shortcut_features import shortcut_features
from sklearn.linear_model import LogisticRegression

UNUSED = {
    "matplotlib": ["cm", "pyplot"],
    "pytorch_grad_cam": ["utils", "utils.model_targets"],
    "torchvision": ["datasets", "datasets.utils", "models", "transforms"],
    "transformers": [],
    "umap": [],
    "wilds": ["common", "common.data_loaders", "datasets", "datasets.wilds_dataset"],
}
for name in [*UNUSED, *(f"{one}.{part}" for one, own in UNUSED.items() for part in own)]:
    sys.modules[name] = MagicMock()

from spuco.datasets import GroupLabeledDatasetWrapper  # noqa: E402
from spuco.utils import random_seed  # noqa: E402

dfr = importlib.import_module("spuco.last_layer_retrain.dfr")
group_dro = importlib.import_module("spuco.robust_train.group_dro")
SEEDS = range(8)


class Random:
    """``random`` whose ``sample`` takes a set, as it did before Python 3.11."""

    def __getattr__(self, name):
        return getattr(random, name)

    def sample(self, population, k):
        return random.sample(tuple(population), k)


class FreeIntercept(LogisticRegression):
    """The same fit, whose intercept has no penalty."""

    def __init__(self, penalty="l1", C=1.0, solver="", class_weight=None):
        super().__init__(penalty=penalty, C=C, solver="saga", class_weight=class_weight,
                         max_iter=5000, tol=1e-5)  # fmt: skip


class Rows(torch.utils.data.Dataset):
    """Features and classes."""

    def __init__(self, features, classes):
        self.features = torch.from_numpy(features).float()
        self.classes = torch.from_numpy(classes)

    def __len__(self):
        return len(self.classes)

    def __getitem__(self, at):
        return self.features[at], self.classes[at]


def worst(weight, bias, features, classes, seen):
    """Return the accuracy of the worst group."""
    right = (features @ weight + bias > 0) == (classes == 1)
    return float(min(right[(classes == c) & (seen == s)].mean() for c in (0, 1) for s in (0, 1)))


features, classes, seen = shortcut_features(1000, 0.97, 0)
test = shortcut_features(1000, 0.5, 1)
mean, deviation = features.mean(0), np.where(features.std(0) > 0, features.std(0), 1)
partition = {
    (c, s): np.flatnonzero((classes == c) & (seen == s)).tolist() for c in (0, 1) for s in (0, 1)
}


def by_dfr(seed, *, scaled=True, logistic=LogisticRegression):
    dfr.LogisticRegression, dfr.random = logistic, Random()
    random_seed.set_seed(seed)
    model = torch.nn.Module()
    model.backbone = torch.nn.Identity()
    rows = Rows(features, classes)
    own = GroupLabeledDatasetWrapper(rows, partition)
    fitted = dfr.DFR(own, model, data_for_scaler=rows if scaled else None)
    fitted.train()
    _, weight, bias, scaler = fitted.linear_model
    of_test = scaler.transform(test[0]) if scaled else test[0]
    return worst(weight[0], bias[0], of_test, *test[1:])


def by_group_dro(seed):
    random_seed.set_seed(seed)
    torch.manual_seed(seed)
    network = torch.nn.Linear(features.shape[1], 2)
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.01, weight_decay=0.01)
    own = GroupLabeledDatasetWrapper(Rows((features - mean) / deviation, classes), partition)
    fitted = group_dro.GroupDRO(network, own, 64, optimizer, 25)
    fitted.group_weighted_loss.group_weight_lr = 0.05
    for epoch in range(25):
        fitted.train_epoch(epoch)
    weight, bias = (one.detach().double().numpy() for one in network.parameters())
    own_test = (test[0] - mean) / deviation
    return worst(weight[1] - weight[0], bias[1] - bias[0], own_test, *test[1:])


def over_seeds(make, **options):
    return [round(make(seed, **options), 4) for seed in SEEDS]


torch.set_num_threads(1)
numbers = {
    "spuco": "2.0.3",
    "scikit-learn": sklearn.__version__,
    "torch": torch.__version__.partition("+")[0],
    "DFR": over_seeds(by_dfr),
    "GroupDRO": over_seeds(by_group_dro),
    "DFR, free intercept": over_seeds(by_dfr, logistic=FreeIntercept),
    "DFR, not scaled": over_seeds(by_dfr, scaled=False),
}
(Path(__file__).parent / "numbers.json").write_text(json.dumps(numbers, indent=1) + "\n")
