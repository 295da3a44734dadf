import numba
import numpy as np
import pytest
import scipy.sparse as sp

from mora.errors import GraphError
from mora.graph.product import multiply


def random_matrix(rows=60, columns=40, density=0.2, seed=0) -> sp.csr_array:
    matrix = sp.random_array(
        (rows, columns), density=density, rng=np.random.default_rng(seed), format="csr"
    )
    return sp.csr_array(matrix.astype(np.float32))


def arrays(matrix):
    return (
        matrix.indptr.astype(np.int64),
        matrix.indices.astype(np.int32),
        matrix.data.astype(np.float32),
    )


def dense(rows, dim, seed=1):
    return np.random.default_rng(seed).normal(size=(rows, dim)).astype(np.float32)


def test_known_answer():
    # [[0, 2], [3, 4]] @ [[1, 10], [5, 50]]
    matrix = sp.csr_array(np.array([[0, 2], [3, 4]], np.float32))
    x = np.array([[1, 10], [5, 50]], np.float32)
    np.testing.assert_array_equal(multiply(*arrays(matrix), x), [[10, 100], [23, 230]])


@pytest.mark.parametrize("dim", [1, 3, 16, 128])
def test_agrees_with_scipy_in_double_precision(dim):
    matrix, x = random_matrix(), dense(40, dim)
    expected = matrix.astype(np.float64) @ x.astype(np.float64)
    np.testing.assert_allclose(multiply(*arrays(matrix), x), expected, atol=1e-5)


def test_error_of_a_long_row_stays_within_the_bound():
    data = np.random.default_rng(0).random((1, 20_000)).astype(np.float32)
    x = dense(20_000, 2)
    got = multiply(*arrays(sp.csr_array(data)), x)
    exact = data.astype(np.float64) @ x
    bound = 20_000**0.5 * 6e-8 * (data @ np.abs(x))
    assert (np.abs(got - exact) <= bound).all()


@pytest.mark.parametrize("columns", [None, np.arange(0, 500, 3)])
def test_number_of_threads_changes_no_bit(columns):
    matrix = random_matrix(rows=500, columns=500, density=0.3)
    x = dense(500 if columns is None else len(columns), 32)
    before = numba.get_num_threads()
    products = []
    for threads in (1, before):
        numba.set_num_threads(threads)
        products.append(multiply(*arrays(matrix), x, columns=columns).tobytes())
    numba.set_num_threads(before)
    assert products[0] == products[1]


def test_every_argument_changes_the_product():
    indptr, indices, data = arrays(random_matrix())
    x = dense(40, 8)
    product = multiply(indptr, indices, data, x)
    assert not np.array_equal(multiply(indptr, indices, 2 * data, x), product)
    assert not np.array_equal(multiply(indptr, indices, data, 2 * x), product)
    shifted = (indices + 1).astype(np.int32) % np.int32(40)
    assert not np.array_equal(multiply(indptr, shifted, data, x), product)
    fewer = indptr.copy()
    fewer[1] = 0  # the first row's entries move to the second
    assert not np.array_equal(multiply(fewer, indices, data, x), product)


def test_selected_rows_are_those_of_the_whole_product():
    matrix, x = random_matrix(), dense(40, 8)
    rows = np.array([59, 3, 3, 0])
    got = multiply(*arrays(matrix), x, rows=rows)
    np.testing.assert_array_equal(got, multiply(*arrays(matrix), x)[rows])


def test_columns_by_hand():
    # [[0, 2], [3, 4]] @ [[0, 0], [5, 50]], of which only the second row is given
    matrix = sp.csr_array(np.array([[0, 2], [3, 4]], np.float32))
    x = np.array([[5, 50]], np.float32)
    got = multiply(*arrays(matrix), x, columns=np.array([1]))
    np.testing.assert_array_equal(got, [[10, 100], [20, 200]])


@pytest.mark.parametrize("columns", [[7], [39, 0, 5, 21], range(39, -1, -1)])
@pytest.mark.parametrize("rows", [None, [59, 3, 3, 0]])
def test_columns_that_are_not_given_count_as_zero(columns, rows):
    matrix, columns = random_matrix(), np.array(columns)
    x, whole = dense(len(columns), 8), np.zeros((40, 8), np.float32)
    whole[columns] = x
    rows = None if rows is None else np.array(rows)
    got = multiply(*arrays(matrix), x, rows=rows, columns=columns)
    expected = multiply(*arrays(matrix), whole, rows=rows)
    np.testing.assert_allclose(got, expected, atol=1e-6)
    assert got.any() or rows is not None


def test_columns_without_entries_or_no_columns_add_nothing():
    matrix, x = random_matrix(), dense(2, 4)
    got = multiply(*arrays(matrix), x, columns=np.array([3, 45]))
    np.testing.assert_array_equal(
        got, multiply(*arrays(matrix), x[:1], columns=np.array([3]))
    )
    nothing = multiply(*arrays(matrix), x[:0], columns=np.zeros(0, np.int64))
    assert nothing.shape == (60, 4)
    assert not nothing.any()


def test_columns_given_twice_are_refused():
    columns = np.array([5, 7, 5, 5])
    with pytest.raises(GraphError, match=r"2 of 4 columns come again .*\[5, 5\]"):
        multiply(*arrays(random_matrix()), dense(4, 4), columns=columns)


def test_columns_below_zero_are_refused():
    columns = np.array([5, -2])
    with pytest.raises(GraphError, match="columns run from -2; expected numbers from"):
        multiply(*arrays(random_matrix()), dense(2, 4), columns=columns)


def test_out_is_overwritten_and_returned():
    matrix, x = random_matrix(), dense(40, 8)
    out = np.full((60, 8), 7, np.float32)
    assert multiply(*arrays(matrix), x, out=out) is out
    np.testing.assert_array_equal(out, multiply(*arrays(matrix), x))


def test_memory_mapped_arrays_give_the_same(tmp_path):
    matrix, x = random_matrix(), dense(40, 8)
    mapped = []
    for number, array in enumerate(arrays(matrix)):
        np.save(tmp_path / f"{number}.npy", array)
        mapped.append(np.load(tmp_path / f"{number}.npy", mmap_mode="r"))
    np.testing.assert_array_equal(multiply(*mapped, x), multiply(*arrays(matrix), x))


def test_rows_without_entries_are_zero():
    empty = sp.csr_array((3, 2), dtype=np.float32)
    assert not multiply(*arrays(empty), dense(2, 4)).any()


def test_no_rows_give_no_products():
    rows = np.zeros(0, np.int64)
    got = multiply(*arrays(random_matrix()), dense(40, 4), rows=rows)
    assert got.shape == (0, 4)
    empty = sp.csr_array((0, 5), dtype=np.float32)
    assert multiply(*arrays(empty), dense(5, 4)).shape == (0, 4)


def test_column_outside_x_is_refused():
    with pytest.raises(GraphError, match="indices run up to 39; expected at most 38"):
        multiply(*arrays(random_matrix()), dense(39, 4))


@pytest.mark.parametrize("row", [-1, 60])
def test_row_outside_the_matrix_is_refused(row):
    with pytest.raises(GraphError, match="expected rows from 0 to 59"):
        multiply(*arrays(random_matrix()), dense(40, 4), rows=np.array([row, 5]))


def test_strided_x_is_refused():
    x = dense(40, 8)[:, ::2]
    with pytest.raises(GraphError, match=r"x is \(40, 4\) not contiguous"):
        multiply(*arrays(random_matrix()), x)


def test_out_of_the_wrong_shape_is_refused():
    out = np.zeros((2, 4), np.float32)
    with pytest.raises(GraphError, match=r"out is \(2, 4\).* shape \(1, 4\)"):
        multiply(*arrays(random_matrix()), dense(40, 4), rows=np.array([0]), out=out)


def test_out_over_x_is_refused():
    x = dense(40, 4)
    with pytest.raises(GraphError, match="out overlaps x"):
        multiply(*arrays(random_matrix(rows=40)), x, out=x)


def test_negative_index_is_refused():
    indptr, indices, data = arrays(random_matrix())
    indices[5] = -1
    with pytest.raises(GraphError, match="indices run from -1; expected numbers from"):
        multiply(indptr, indices, data, dense(40, 4))


def test_cut_off_arrays_are_refused():
    indptr, indices, data = arrays(random_matrix())
    with pytest.raises(GraphError, match=r"indptr ends at 480 but there are 470"):
        multiply(indptr, indices[:470], data[:470], dense(40, 4))


def test_descending_offsets_are_refused():
    indptr, indices, data = arrays(random_matrix())
    with pytest.raises(GraphError, match="expected ascending offsets"):
        multiply(indptr[::-1].copy(), indices, data, dense(40, 4))
