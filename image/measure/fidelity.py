"""How close a set of images is to real images: FID, KID, precision and recall of their features.

The formulas are torch-fidelity's (features -> statistics -> score), which reproduces the published
implementations to floating-point accuracy. This module adds checks that it lacks, and names that
say which features were compared.

* `fid`: Fréchet distance of two Gaussians fitted to the features (Heusel et al. 2017). Biased
  upward, and more so with fewer images: compare only figures of equal N. With fewer images than
  features the report says so.
* `kid`, `kid_sd`: squared maximum mean discrepancy with the kernel (x.y / D + 1)^3 (Binkowski et
  al. 2018), unbiased for any N; mean and standard deviation over random subsets. A negative value
  means "no difference found".
* `precision`, `recall`: share of generated images within the k-nearest-neighbour balls of real
  ones, and the reverse (Kynkäänniemi et al. 2019), k = 3.

None has an interval. A bootstrap of the FID would add the bias of the duplicates that it draws.
Subsets of the KID share images, so their standard deviation is no standard error; it is reported as
a standard deviation.

Shapes: N images, D features.
"""

from __future__ import annotations

import math

from torch import Tensor
from torch_fidelity.metric_fid import (
    KEY_METRIC_FID,
    fid_features_to_statistics,
    fid_statistics_to_metric,
)
from torch_fidelity.metric_kid import (
    KEY_METRIC_KID_MEAN,
    KEY_METRIC_KID_STD,
    kid_features_to_metric,
)
from torch_fidelity.metric_prc import (
    KEY_METRIC_PRECISION,
    KEY_METRIC_RECALL,
    prc_features_to_metric,
)

from common.errors import UserError
from common.measure.intervals import Interval, point

NEIGHBOURS = 3
KID_SUBSETS = 50  # takes two seconds for 1024 images; the expectation does not depend on it
KID_SUBSET_SIZE = 1000  # at most; half of the images where there are fewer than twice as many
PRC_ROWS = 1000  # rows of the distance matrix at a time: bounds memory
# Fewest images for which a metric is defined: a variance needs two, and so does half a set.
LEAST_IMAGES = {"fid": 2, "kid": 4, "precision": NEIGHBOURS + 1, "recall": NEIGHBOURS + 1}


class Fidelity:
    """Compares sets of images with one set of real images.

    Args:
        extractor_name: `Extractor.name`, the label in the metrics' names.
        real_ND: features of the real images.
        seed: of the subsets of the KID; sets of equal N get the same subsets.

    Raises:
        UserError: too few real images.
    """

    def __init__(self, extractor_name: str, real_ND: Tensor, *, seed: int = 0) -> None:
        _check_count(real_ND, extractor_name, "real")
        self.extractor_name, self.seed = extractor_name, seed
        self._real_ND = real_ND.double()
        self._real_statistics = fid_features_to_statistics(self._real_ND)

    def score(self, fake_ND: Tensor) -> dict[str, Interval]:
        """`fid[NAME]`, `kid[NAME]`, `kid_sd[NAME]`, `precision[NAME]` and `recall[NAME]`.

        Args:
            fake_ND: features of the images to judge, from the same extractor; N is the `n` of each
                score.

        Raises:
            UserError: too few images; names the metric, N and the smallest N.
        """
        _check_count(fake_ND, self.extractor_name, "judged")
        assert fake_ND.shape[1] == self._real_ND.shape[1], (fake_ND.shape, self._real_ND.shape)
        # Double precision, because float32 rounds away the distances of near-duplicates.
        judged_ND = fake_ND.double()
        fid = fid_statistics_to_metric(
            fid_features_to_statistics(judged_ND), self._real_statistics, verbose=False
        )
        kid = kid_features_to_metric(
            judged_ND,
            self._real_ND,
            kid_subsets=KID_SUBSETS,
            kid_subset_size=kid_subset_size(len(judged_ND), len(self._real_ND)),
            rng_seed=self.seed,
            verbose=False,
        )
        prc = prc_features_to_metric(
            judged_ND,
            self._real_ND,
            prc_neighborhood=NEIGHBOURS,
            prc_batch_size=PRC_ROWS,
            save_cpu_ram=True,
            verbose=False,
        )
        values = {
            "fid": fid[KEY_METRIC_FID],
            "kid": kid[KEY_METRIC_KID_MEAN],
            "kid_sd": kid[KEY_METRIC_KID_STD],
            "precision": prc[KEY_METRIC_PRECISION],
            "recall": prc[KEY_METRIC_RECALL],
        }
        return {
            f"{metric}[{self.extractor_name}]": point(value, len(fake_ND))
            for metric, value in values.items()
        }

    def notes(self, judged: int) -> list[str]:
        """Warnings about figures of this number of judged images; mostly none."""
        features = self._real_ND.shape[1]
        fewest = min(judged, len(self._real_ND))
        if fewest > features:
            return []
        return [
            f"fid[{self.extractor_name}] of {fewest} images and {features} features: the "
            "covariance is singular and the figure biased upward; compare only at equal N"
        ]

    def definitions(self, judged: int) -> dict[str, tuple[str, str]]:
        """Metric -> (label with the sample counts, definition), for a report."""
        name, real = self.extractor_name, len(self._real_ND)
        counts = f"{judged} images against {real} real ones, features of {name}"
        subset = kid_subset_size(judged, real)
        texts = {
            "fid": (f"FID-{judged}", "Fréchet distance; lower is nearer, biased up at small N"),
            "kid": (
                f"KID-{judged}",
                "squared MMD, cubic kernel; lower is nearer, 0: no difference",
            ),
            "kid_sd": (
                f"KID-{judged}, sd",
                f"standard deviation of the KID over {KID_SUBSETS} subsets of {subset}",
            ),
            "precision": (
                f"precision-{judged}",
                f"share of images within the {NEIGHBOURS}-neighbour ball of a real one",
            ),
            "recall": (
                f"recall-{judged}",
                f"share of real images within the {NEIGHBOURS}-neighbour ball of one of them",
            ),
        }
        return {
            f"{metric}[{name}]": (f"{label} [{name}]", f"{definition}; {counts}")
            for metric, (label, definition) in texts.items()
        }


def kid_subset_size(judged: int, real: int) -> int:
    """Images per subset; half of a small set, since subsets of the whole set would all be equal."""
    return min(KID_SUBSET_SIZE, judged // 2, real // 2)


def _check_count(features_ND: Tensor, name: str, which: str) -> None:
    count = len(features_ND)
    short = {metric: least for metric, least in LEAST_IMAGES.items() if count < least}
    if short:
        metric = max(short, key=lambda key: short[key])
        raise UserError(
            expected=f"at least {short[metric]} {which} images for {metric}[{name}]",
            got=f"{count}",
            fix="measure on more images",
        )
    assert features_ND.ndim == 2, features_ND.shape
    assert math.isfinite(float(features_ND.sum())), "features that are not finite"
