"""An attacker who knows some of the answers, and learns from them what to look for."""

import numpy as np
from jaxtyping import Float

from mora.errors import MoraError
from mora.publish.matching import MatchedPairs

# Inverse strength of the penalty: few pairs for many dimensions want a strong one.
PENALTY = 0.01


def learned_scores(
    vectors: Float[np.ndarray, "tokens dim"], matched: MatchedPairs, *, seed: int = 0
) -> tuple[Float[np.ndarray, " pairs"], Float[np.ndarray, " pairs"]]:
    """Score pairs of places by a rule learned from other places' pairs.

    Logistic regression on products and absolute differences of the two vectors, fitted
    on half of the anchors and used on the other half, in turn.

    Source: He et al. 2021, Stealing links from graph neural networks, for an attacker
    who knows part of the links; here linear, and on matched pairs.

    Args:
        vectors: what the attacker holds, a row a token.
        matched: pairs with the secret and pairs like them without.
        seed: of the division into halves.

    Returns:
        Scores of cases and of controls; without order where vectors know nothing.

    Raises:
        MoraError: if there are fewer than two anchors to divide.
    """
    from sklearn.linear_model import LogisticRegression

    names, anchor = np.unique(matched.anchor, return_inverse=True)
    if len(names) < 2:
        raise MoraError(
            f"{len(names)} places to learn an attack from and to try it on; expected "
            f"at least 2. Attack more pairs."
        )
    case, control = (
        _features(vectors, matched.anchor, end)
        for end in (matched.case, matched.control)
    )
    spread = (case - control).std(axis=0)
    apart = (case - control) / np.where(spread > 0, spread, 1)
    half = (np.random.default_rng(seed).permutation(len(names)) % 2)[anchor]
    scores = np.zeros(len(apart))
    for side in (0, 1):
        known = apart[half != side]
        answers = np.repeat([1, 0], len(known))
        rule = LogisticRegression(C=PENALTY, fit_intercept=False, max_iter=1_000)
        rule.fit(np.vstack([known, -known]), answers)
        scores[half == side] = apart[half == side] @ rule.coef_[0]
    return scores, np.zeros(len(scores))


def _features(
    vectors: Float[np.ndarray, "tokens dim"], first: np.ndarray, second: np.ndarray
) -> Float[np.ndarray, "pairs columns"]:
    """Give what tells whether two vectors belong together, column by column."""
    one, other = vectors[first].astype(np.float64), vectors[second].astype(np.float64)
    return np.hstack([one * other, np.abs(one - other)])
