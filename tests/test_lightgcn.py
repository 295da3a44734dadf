import numba
import numpy as np
import pytest
import scipy.sparse as sp
import torch

from mora.encoder import lightgcn
from mora.encoder.lightgcn import LightGCN, Propagation
from mora.errors import GraphError
from mora.graph.sampling import normalise
from mora.graph.storage import MobilityGraph

ISOLATED = 4


def operator(matrix):
    return normalise(MobilityGraph.from_matrix(sp.csr_array(np.triu(matrix, 1))))


def random_operator(tokens=30, seed=0):
    """Normalise a random graph in which one token has no edges."""
    rng = np.random.default_rng(seed)
    weight = rng.gamma(1, 10, (tokens, tokens)) * (rng.random((tokens, tokens)) < 0.3)
    weight[ISOLATED] = weight[:, ISOLATED] = 0
    return operator(weight)


def dense(entries):
    indptr, indices, data = entries
    rows = len(indptr) - 1
    matrix = sp.csr_array((data, indices, indptr), shape=(rows, rows))
    return torch.from_numpy(matrix.toarray().astype(np.float64))


def random_features(tokens=30, dim=5, seed=0):
    return torch.randn(tokens, dim, generator=torch.Generator().manual_seed(seed))


def power_sum(entries, features, layers):
    """Add up A^0 x .. A^layers x in double precision."""
    matrix = dense(entries)
    powers = (torch.linalg.matrix_power(matrix, k) for k in range(layers + 1))
    return sum(powers) @ features.double()


def test_known_answer_on_path_graph():
    # degrees 1, 2, 1 -> both edges weigh 1/sqrt(2); one step moves e_1 to its ends.
    path = operator(np.array([[0.0, 1, 0], [0, 0, 1], [0, 0, 0]]))
    features = torch.tensor([[0.0], [1.0], [0.0]])
    out = LightGCN(features, Propagation(*path), layers=1)()
    expected = torch.tensor([[2**-0.5], [1.0], [2**-0.5]])
    torch.testing.assert_close(out.detach(), expected)


@pytest.mark.parametrize("layers", [0, 1, 2, 3])
def test_agrees_with_dense_power_sum(layers):
    entries, features = random_operator(), random_features()
    got = LightGCN(features, Propagation(*entries), layers)()
    expected = power_sum(entries, features, layers)
    torch.testing.assert_close(got.double(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("layers", [0, 1, 2, 3])
def test_gradient_agrees_with_dense_power_sum(layers):
    entries, features = random_operator(), random_features()
    model = LightGCN(features, Propagation(*entries), layers)
    pull = random_features(seed=1)
    (model() * pull).square().sum().backward()
    x = features.double().requires_grad_()
    (power_sum(entries, x, layers) * pull.double()).square().sum().backward()
    got = model.features.grad.double()
    torch.testing.assert_close(got, x.grad, rtol=1e-4, atol=1e-5)


def test_gradient_of_a_few_rows_reaches_their_neighbours():
    entries = random_operator()
    model = LightGCN(random_features(), Propagation(*entries), layers=1)
    model()[[3]].sum().backward()
    reached = model.features.grad.abs().sum(dim=1) > 0
    assert torch.equal(reached, (dense(entries)[3] > 0) | (torch.arange(30) == 3))


@pytest.mark.parametrize("layers", [0, 1, 2, 3])
@pytest.mark.parametrize("share", [0.1, 0.9])
def test_rows_and_their_gradient_are_those_of_the_whole(layers, share):
    model = LightGCN(random_features(), Propagation(*random_operator()), layers)
    rows = torch.randperm(30, generator=torch.Generator().manual_seed(0))
    rows = rows[: int(share * 30)]
    gradients = []
    whole = model()[rows]
    for embedding in (model(rows), whole):
        torch.testing.assert_close(embedding, whole, rtol=1e-6, atol=1e-6)
        pull = random_features(len(rows), seed=1)
        (gradient,) = torch.autograd.grad(
            (embedding * pull).square().sum(), model.features
        )
        gradients.append(gradient)
    scale = gradients[1].abs().max()
    torch.testing.assert_close(
        gradients[0] / scale, gradients[1] / scale, rtol=1e-6, atol=1e-6
    )


def test_no_rows_are_embedded_as_none():
    model = LightGCN(random_features(), Propagation(*random_operator()))
    out = model(torch.zeros(0, dtype=torch.long))
    assert out.shape == (0, 5)
    out.sum().backward()
    assert not model.features.grad.any()


def test_rows_given_twice_are_refused():
    model = LightGCN(random_features(), Propagation(*random_operator()))
    with pytest.raises(GraphError, match="4 rows name 3 tokens; expected none twice"):
        model(torch.tensor([3, 8, 3, 1]))


@pytest.mark.parametrize("rows", [None, torch.arange(0, 300, 7)])
def test_number_of_threads_changes_no_bit(rows):
    model = LightGCN(
        random_features(300, 32), Propagation(*random_operator(300)), layers=2
    )
    before = numba.get_num_threads()
    results = []
    for threads in (1, before):
        numba.set_num_threads(threads)
        out = model(rows)
        (gradient,) = torch.autograd.grad(out.square().sum(), model.features)
        results.append((out.detach().numpy().tobytes(), gradient.numpy().tobytes()))
    numba.set_num_threads(before)
    assert results[0] == results[1]


def test_mixed_precision_leaves_the_propagation_in_float32():
    model, rows = LightGCN(random_features(), Propagation(*random_operator())), [3, 20]
    results = []
    for mixed in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            out = model(torch.tensor(rows))
        (gradient,) = torch.autograd.grad(out.square().sum(), model.features)
        results.append((out, gradient))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])


def test_layers_change_the_embedding_and_two_are_usual():
    propagation, features = Propagation(*random_operator()), random_features()
    outs = [LightGCN(features, propagation, layers)() for layers in (1, 2, 3)]
    assert not torch.allclose(outs[0], outs[1])
    assert not torch.allclose(outs[1], outs[2])
    assert torch.equal(LightGCN(features, propagation)(), outs[1])


def test_graph_changes_the_embedding():
    first, second = (
        LightGCN(random_features(), Propagation(*random_operator(seed=seed)))()
        for seed in (0, 1)
    )
    assert not torch.allclose(first, second)


def test_isolated_token_keeps_its_features_and_is_no_nan():
    features = random_features()
    model = LightGCN(features, Propagation(*random_operator()))
    out = model()
    assert out.isfinite().all()
    assert torch.equal(out[ISOLATED], features[ISOLATED])
    out.sum().backward()
    assert model.features.grad.isfinite().all()
    assert torch.equal(model.features.grad[ISOLATED], torch.ones(5))


def test_a_graph_without_edges_returns_the_features():
    nothing = Propagation(*operator(np.zeros((3, 3))))
    features = random_features(tokens=3)
    assert torch.equal(LightGCN(features, nothing)(), features)


def test_features_are_a_parameter_of_their_own():
    features = random_features()
    model = LightGCN(features, Propagation(*random_operator()))
    assert [name for name, _ in model.named_parameters()] == ["features"]
    with torch.no_grad():
        model.features.add_(1)
    assert torch.equal(features, random_features())


def test_permuted_graph_and_features_give_permuted_embeddings():
    rng = np.random.default_rng(0)
    weight = np.triu(rng.gamma(1, 10, (12, 12)), 1)
    graph = MobilityGraph.from_matrix(sp.csr_array(weight))
    token, features = rng.permutation(12), random_features(tokens=12)
    out = LightGCN(features, Propagation(*normalise(graph)))()
    moved = features[torch.from_numpy(np.argsort(token))]
    again = LightGCN(moved, Propagation(*normalise(graph.reorder(token))))()
    torch.testing.assert_close(again[torch.from_numpy(token)], out)


# Propagation


def test_one_step_is_the_product_and_its_own_transpose():
    entries, x = random_operator(), random_features()
    x.requires_grad_()
    out = Propagation(*entries)(x)
    matrix = dense(entries).float()
    torch.testing.assert_close(out.detach(), (matrix @ x).detach())
    pull = random_features(seed=1)
    (gradient,) = torch.autograd.grad(out, x, pull)
    torch.testing.assert_close(gradient, matrix.T @ pull)


def test_gradients_that_are_not_contiguous_are_taken():
    entries, x = random_operator(), random_features().requires_grad_()
    Propagation(*entries)(x).sum().backward()  # the gradient is one number, expanded
    expected = dense(entries).float().sum(dim=0)[:, None].expand(-1, 5)
    torch.testing.assert_close(x.grad, expected.contiguous())


def test_double_precision_in_is_double_precision_out():
    out = Propagation(*random_operator())(random_features().double())
    assert out.dtype == torch.float64


def test_product_of_columns_takes_the_others_as_zero():
    entries, columns = random_operator(), torch.tensor([20, 3, 11])
    x, whole = random_features(3), torch.zeros(30, 5)
    whole[columns] = x
    got = Propagation(*entries).product(x, columns=columns)
    torch.testing.assert_close(got, dense(entries).float() @ whole)


@pytest.mark.parametrize("rows", [None, torch.tensor([20, 3, 11])])
@pytest.mark.parametrize("columns", [None, torch.tensor([4, 0, 29, 6])])
def test_product_elsewhere_than_on_the_cpu_is_the_same(rows, columns):
    propagation = Propagation(*random_operator())
    x = random_features(30 if columns is None else len(columns))
    matrix = propagation._matrix(torch.device("cpu"))
    torch.testing.assert_close(
        lightgcn._multiply_elsewhere(matrix, x, rows, columns),
        propagation.product(x, rows=rows, columns=columns),
    )
