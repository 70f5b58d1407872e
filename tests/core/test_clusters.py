"""Counting clusters: Quickshift++ against its authors' program, both methods on clouds whose clusters are known."""

import builtins
import importlib.util
import sys

import numpy as np
import pytest

import clhd
from clhd.core.clusters import METHODS, count_clusters
from clhd.core.quickshift import cluster_quickshift
from clhd.errors import ClhdError
from tests.core.clouds import CLOUDS, CROSS, make_blobs

HAS_SKLEARN = importlib.util.find_spec("sklearn") is not None
needs_sklearn = pytest.mark.skipif(
    not HAS_SKLEARN, reason="scikit-learn is not installed (pip install clhd[attractors])"
)
BY_METHOD = pytest.mark.parametrize("method", [pytest.param("hdbscan", marks=needs_sklearn), "quickshift++"])

# (cloud, neighbours, fluctuation, pruning): sizes of the clusters that the authors' program finds
# (github.com/google/quickshift, archived, built and run once beside ours; only these numbers are kept).
REFERENCE = {
    ("cross", 10, 0.3, 0.0): [142, 129, 97, 80, 79, 58, 54, 53, 52, 23, 14, 13, 5, 1],
    ("cross", 10, 0.7, 0.0): [200, 200, 200, 176, 23, 1],
    ("cross", 20, 0.5, 0.0): [200, 200, 200, 200],
    ("cross", 20, 0.5, 0.5): [200, 200, 200, 200],
    ("cross", 40, 0.9, 0.0): [200, 200, 200, 200],
    ("near", 10, 0.3, 0.0): [131, 119, 107, 68, 66, 47, 38, 23, 1],
    ("near", 10, 0.7, 0.0): [600],
    ("near", 20, 0.5, 0.0): [600],
    ("near", 20, 0.5, 0.5): [600],
    ("near", 40, 0.9, 0.0): [600],
    ("cube", 10, 0.3, 0.0): [134, 120, 117, 104, 95, 23, 2, 2, 1, 1, 1],
    ("cube", 10, 0.7, 0.0): [134, 120, 118, 117, 104, 2, 2, 1, 1, 1],
    ("cube", 20, 0.5, 0.0): [130, 121, 120, 119, 110],
    ("cube", 20, 0.5, 0.5): [361, 120, 119],
    ("cube", 40, 0.9, 0.0): [600],
    ("rings", 10, 0.3, 0.0): [55, 51, 42, 36, 34, 33, 27, 27, 26, 25, 21, 20, 19, 19, 19, 18, 12, 11, 5],
    ("rings", 10, 0.7, 0.0): [89, 73, 73, 55, 40, 38, 38, 36, 33, 25],
    ("rings", 20, 0.5, 0.0): [112, 80, 75, 69, 69, 68, 27],
    ("rings", 20, 0.5, 0.5): [192, 137, 102, 69],
    ("rings", 40, 0.9, 0.0): [500],
    ("one", 10, 0.3, 0.0): [312, 111, 37, 35, 2, 1, 1, 1],
    ("one", 10, 0.7, 0.0): [498, 2],
    ("one", 20, 0.5, 0.0): [500],
    ("one", 20, 0.5, 0.5): [500],
    ("one", 40, 0.9, 0.0): [500],
    ("flat", 10, 0.3, 0.0): [84, 68, 56, 53, 37, 36, 27, 21, 18],
    ("flat", 10, 0.7, 0.0): [400],
    ("flat", 20, 0.5, 0.0): [400],
    ("flat", 20, 0.5, 0.5): [400],
}


@pytest.mark.parametrize("case", REFERENCE)
def test_quickshift_finds_what_its_authors_program_finds(case):
    name, neighbours, fluctuation, pruning = case
    found = cluster_quickshift(CLOUDS[name], neighbours=neighbours, fluctuation=fluctuation, pruning=pruning)
    assert sorted(np.bincount(found).tolist(), reverse=True) == REFERENCE[case]


@needs_sklearn
@pytest.mark.parametrize(("name", "known"), [("iris", (0.568, 0.732)), ("digits", (0.740, 0.845))])
def test_quickshift_on_data_that_others_use(name, known):
    """Adjusted Rand index and mutual information, as the authors' program has them; digits has ties, so it is near."""
    from sklearn import datasets, metrics  # noqa: PLC0415

    points, labels = getattr(datasets, f"load_{name}")(return_X_y=True)
    found = cluster_quickshift(points, neighbours=20, fluctuation=0.5)
    scores = (metrics.adjusted_rand_score(labels, found), metrics.adjusted_mutual_info_score(labels, found))
    assert scores == pytest.approx(known, abs=6e-4 if name == "iris" else 0.02)


def test_a_cloud_without_any_core_is_one_cluster():
    """Densities that vary by less than a factor 10: the authors' program has no answer here."""
    assert set(cluster_quickshift(CLOUDS["flat"], neighbours=40, fluctuation=0.9)) == {0}


def test_the_order_of_points_changes_no_cluster():
    points = CLOUDS["cube"]
    shuffled = np.random.default_rng(0).permutation(len(points))
    one = cluster_quickshift(points, neighbours=20, fluctuation=0.5)
    other = cluster_quickshift(points[shuffled], neighbours=20, fluctuation=0.5)
    assert np.array_equal(one[shuffled][:, None] == one[shuffled], other[:, None] == other)


@BY_METHOD
@pytest.mark.parametrize("scale", [1e-300, 1e-12, 1.0, 1e9, 1e300])
def test_well_separated_blobs_are_counted_at_any_scale(method, scale):
    found = count_clusters(scale * CLOUDS["cross"], method=method)
    assert int(found.clusters) == 4
    assert found.share.values == pytest.approx(4 * [0.25], abs=0.02)
    of_blob = found.label.values.reshape(4, -1)
    for blob in of_blob:  # noise is allowed, a foreign label is not
        assert len(set(blob.tolist()) - {-1}) == 1
    assert float(found.noise_share) == pytest.approx(np.mean(found.label == -1))
    assert float(found.share.sum() + found.noise_share) == pytest.approx(1)


@BY_METHOD
def test_a_single_blob_is_one_cluster(method):
    assert int(count_clusters(CLOUDS["one"], method=method).clusters) == 1


@BY_METHOD
def test_clusters_below_the_smallest_share_are_noise(method):
    """A fifth blob of 60 points among 860: 7 %. Quickshift++ needs clusters of several times its neighbours."""
    points = np.concatenate([CLOUDS["cross"], make_blobs([(5, 5)], 60, 0.1, 9)])
    assert int(count_clusters(points, method=method, neighbours=10, smallest_share=0.05).clusters) == 5
    fewer = count_clusters(points, method=method, neighbours=10, smallest_share=0.1)
    assert int(fewer.clusters) == 4
    assert np.all(fewer.label[-60:] == -1)
    assert np.all(np.diff(fewer.share) <= 0)


def test_it_is_public():
    assert clhd.count_clusters is count_clusters


BAD_INPUT = {
    "method": (CLOUDS["one"], {"method": "kmeans"}, "method = 'kmeans': must be one of hdbscan, quickshift"),
    "dimensions": (np.zeros(5), {}, "points: must be of shape"),
    "one point": (np.zeros((1, 2)), {}, "points: must be of shape"),
    "text": ([["a", "b"], ["c", "d"]], {}, "points: must be an array of numbers"),
    "nan": ([[0.0, 1.0], [np.nan, 1.0]], {}, "points: must be finite; point 1 is not"),
    "share": (CLOUDS["one"], {"smallest_share": 2}, "smallest_share = 2: must be a number from 0 to 1"),
    "neighbours": (CLOUDS["one"], {"method": "quickshift++", "neighbours": 501}, "must not be greater than the number"),
    "one neighbour": (CLOUDS["one"], {"method": "quickshift++", "neighbours": 1}, "neighbours = 1: must be a whole"),
    "fluctuation": (CLOUDS["one"], {"method": "quickshift++", "fluctuation": -1}, "fluctuation = -1: must be"),
    "coinciding": (np.ones((50, 2)), {"method": "quickshift++"}, "points: one stands there 50 times"),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_gets_one_line(case):
    points, arguments, message = BAD_INPUT[case]
    with pytest.raises(ClhdError) as error:
        count_clusters(points, **arguments)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_without_scikit_learn_there_is_one_line_and_the_other_method(monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "sklearn"]:
        monkeypatch.delitem(sys.modules, name)
    find, load = importlib.util.find_spec, builtins.__import__
    monkeypatch.setattr("clhd.core.clusters.find_spec", lambda name: None if name == "sklearn" else find(name))

    def load_others(name, *arguments, **more):
        if name.split(".")[0] == "sklearn":
            raise ModuleNotFoundError(name)
        return load(name, *arguments, **more)

    monkeypatch.setattr(builtins, "__import__", load_others)
    with pytest.raises(
        ClhdError, match=r"needs scikit-learn, which is not installed; pip install 'clhd\[attractors\]'"
    ):
        count_clusters(CLOUDS["one"])
    assert METHODS == ("hdbscan", "quickshift++")
    assert int(count_clusters(CLOUDS["cross"], method="quickshift++").clusters) == len(CROSS)
