"""The networks of ST-MoE-BERT: the reference's numbers, padding, priors, learning."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from jaxtyping import TypeCheckError
from tests.bert_batches import (
    PLACES,
    WIDTH,
    full_extras,
    golden_case,
    golden_model,
    random_windows,
    tiny_model,
)

from mora.config import TrainingConfig
from mora.errors import MoraError
from mora.training.loop import fit
from mora.trajectories.bert.encoder import Attention
from mora.trajectories.bert.inputs import (
    NO_TARGET,
    check_inputs,
    log_prior,
    reachable_targets,
)
from mora.trajectories.bert.network import MobilityBERT, add_prior, make_model, restrict
from mora.trajectories.bert.presets import BertConfig, bert_preset

FEATURES = {"location_input": "features", "location_output": "features"}


@pytest.mark.parametrize("name", ["st_moe_bert", "mobility_bert"])
def test_logits_are_those_of_the_reference(name):
    inputs, expected = golden_case(name)
    with torch.no_grad():
        logits = golden_model(name)(inputs)
    # 1e-5 would not tell 4 heads from 12: see the next test.
    torch.testing.assert_close(logits, expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("changed", ["heads", "self_heads"])
def test_the_reference_needs_its_numbers_of_heads(changed):
    inputs, expected = golden_case("st_moe_bert")
    model = golden_model("st_moe_bert")
    if changed == "heads":
        for layer in model.bert.encoder["layer"]:
            layer.attention["self"].heads = 4
    else:
        model.self_attention.heads = 12
    with torch.no_grad():
        assert (model(inputs) - expected).abs().max() > 1e-5


def test_attention_agrees_with_the_formula():
    torch.manual_seed(0)
    layer, x = Attention(6, heads=2), torch.randn(1, 4, 6)
    padding = torch.tensor([[True, False, False, False]])
    expected = torch.zeros(4, 6)
    q, k, v = (f(x)[0].detach() for f in (layer.query, layer.key, layer.value))
    for head in (slice(0, 3), slice(3, 6)):
        scores = q[:, head] @ k[1:, head].T / 3**0.5
        expected[:, head] = scores.softmax(dim=1) @ v[1:, head]
    torch.testing.assert_close(layer(x, padding)[0].detach(), expected)


@pytest.mark.parametrize("name", ["MobilityBERT", "MobilityBERTMoE"])
def test_the_order_of_the_windows_changes_nothing(name):
    model, inputs = tiny_model(model_name=name), random_windows(name)
    names = ("history_features", "history_locations", "future_features")
    turned = replace(inputs, **{n: getattr(inputs, n).flip(0) for n in names})
    torch.testing.assert_close(model(turned), model(inputs).flip(0))


def test_the_user_id_changes_nothing():
    model, inputs = tiny_model(), random_windows()
    other = replace(inputs, history_features=inputs.history_features.clone())
    other.history_features[:, :, 2] = 10**6
    torch.testing.assert_close(model(other), model(inputs))


@pytest.mark.parametrize("name", ["MobilityBERT", "MobilityBERTMoE"])
def test_every_other_column_and_the_locations_count(name):
    model = tiny_model(model_name=name)
    inputs = random_windows(name)
    for column in range(inputs.history_features.shape[2]):
        if name == "MobilityBERTMoE" and column == 2:
            continue
        for side in ("history_features", "future_features"):
            changed = getattr(inputs, side).clone()
            changed[:, :, column] = (changed[:, :, column] + 1) % 2
            out = model(replace(inputs, **{side: changed}))
            assert not torch.allclose(out, model(inputs)), (side, column)
    moved = (inputs.history_locations + 1) % PLACES
    out = model(replace(inputs, history_locations=moved))
    assert not torch.allclose(out, model(inputs))


def test_what_padding_holds_changes_nothing():
    model = tiny_model(padding_mask=True)
    history = torch.zeros(3, 8, dtype=torch.bool)
    history[:, :3] = True
    future = torch.zeros(3, 4, dtype=torch.bool)
    future[:, 3:] = True
    inputs = random_windows(history_padding=history, future_padding=future)
    other = random_windows(seed=5)
    mixed = replace(
        inputs,
        history_features=torch.where(
            history[..., None], other.history_features, inputs.history_features
        ),
        history_locations=torch.where(
            history, other.history_locations, inputs.history_locations
        ),
        future_features=torch.where(
            future[..., None], other.future_features, inputs.future_features
        ),
    )
    kept = ~future
    assert not torch.equal(mixed.history_locations, inputs.history_locations)
    torch.testing.assert_close(model(mixed)[kept], model(inputs)[kept])
    # Without the option, padding is read as events, as in the released network.
    plain = tiny_model()
    assert not torch.allclose(plain(mixed)[kept], plain(inputs)[kept])


def test_a_future_without_any_history_has_finite_logits():
    padding = torch.ones(3, 8, dtype=torch.bool)
    logits = tiny_model(padding_mask=True)(random_windows(history_padding=padding))
    assert logits.isfinite().all()


def test_log_delta_lets_the_location_count_after_long_gaps():
    inputs = random_windows()
    inputs.history_features[:, :, 5] = 2000
    moved = replace(inputs, history_locations=(inputs.history_locations + 1) % PLACES)
    raw, tamed = tiny_model(), tiny_model(log_delta=True)
    change = [(m(moved) - m(inputs)).abs().mean().item() for m in (raw, tamed)]
    assert change[1] > 10 * change[0]


def test_the_learned_mask_begins_as_the_released_zeros():
    inputs = random_windows()
    plain, masked = tiny_model(), tiny_model(mask_token=True)
    masked.load_state_dict(plain.state_dict(), strict=False)
    torch.testing.assert_close(masked(inputs), plain(inputs))
    with torch.no_grad():
        masked.mask_token.fill_(1.0)
    assert not torch.allclose(masked(inputs), plain(inputs))


def test_prior_is_added_to_the_candidates_only():
    logits = torch.zeros(1, 1, 4)
    candidates = torch.tensor([[2, 0, -1]])
    prior = torch.tensor([[[1.0, 2.0, 9.0]]])
    out = add_prior(logits, candidates, prior, torch.tensor(0.5))
    torch.testing.assert_close(out, torch.tensor([[[1.0, 0.0, 0.5, 0.0]]]))
    none = add_prior(logits, candidates, prior, torch.tensor(0.0))
    torch.testing.assert_close(none, logits)


def test_prior_agrees_with_a_loop_and_its_scale_is_learned():
    model, extras = tiny_model(prior=True), full_extras()
    inputs = random_windows(**extras)
    plain = tiny_model()
    plain.load_state_dict({n: model.state_dict()[n] for n in plain.state_dict()})
    expected = plain(inputs).detach()
    with torch.no_grad():
        model.prior_scale.fill_(0.7)
    for b in range(3):
        for column, place in enumerate(extras["candidates"][b].tolist()):
            if place >= 0:
                expected[b, :, place] += 0.7 * extras["prior"][b, :, column, 0]
    logits = model(inputs)
    torch.testing.assert_close(logits, expected)
    logits[:, :, 3].sum().backward()
    assert model.prior_scale.grad.abs() > 0


@pytest.mark.parametrize("output", ["table", "features"])
def test_the_untrained_network_is_its_prior(output):
    extras = full_extras()
    features = {"place_features_size": WIDTH} if output == "features" else {}
    model = tiny_model(prior=True, location_output=output, **features)
    logits = model(random_windows(**extras))
    nothing = torch.zeros_like(logits)
    expected = add_prior(
        nothing, extras["candidates"], extras["prior"][..., 0], torch.tensor(1.0)
    )
    torch.testing.assert_close(logits, expected)


def test_priors_are_mixed_by_a_gate():
    extras = full_extras()
    shares = torch.rand(3, 4, 3, 2, generator=torch.Generator().manual_seed(2))
    inputs = random_windows(**extras | {"prior": log_prior(shares, 0.1)})
    model = tiny_model(prior=True, prior_histograms=2)

    def mixed(weight):
        prior = log_prior((1 - weight) * shares[..., 0] + weight * shares[..., 1], 0.1)
        nothing = torch.zeros(3, 4, PLACES)
        return add_prior(nothing, extras["candidates"], prior, torch.tensor(1.0))

    torch.testing.assert_close(model(inputs), mixed(0.5))
    with torch.no_grad():
        model.prior_gate.bias.copy_(torch.tensor([0.0, np.log(3.0)]))
    torch.testing.assert_close(model(inputs), mixed(0.75))


def test_only_candidates_can_be_answered():
    candidates = torch.tensor([[0, 2], [1, -1]])
    out = restrict(torch.zeros(2, 1, 3), candidates)
    inf = torch.inf
    torch.testing.assert_close(
        out, torch.tensor([[[0.0, -inf, 0.0]], [[-inf, 0.0, -inf]]])
    )
    model = tiny_model(restrict_to_candidates=True)
    answers = model(random_windows(**full_extras())).argmax(dim=2)
    for row, allowed in zip(answers, full_extras()["candidates"], strict=True):
        assert np.isin(row, allowed[allowed >= 0]).all()


def test_targets_out_of_reach_leave_the_loss():
    targets = torch.tensor([[2, 1], [1, 0]])
    candidates = torch.tensor([[0, 2], [1, -1]])
    reached = reachable_targets(targets, candidates)
    assert reached.tolist() == [[2, NO_TARGET], [1, NO_TARGET]]
    logits = restrict(torch.zeros(2, 2, 3), candidates)
    assert F.cross_entropy(logits.flatten(0, 1), reached.flatten()).isfinite()


def test_log_prior_by_hand():
    weights = torch.tensor([[[0.0, 0.5, 1.5]]])
    expected = torch.log(torch.tensor([[[1.0, 2.0, 4.0]]]))
    torch.testing.assert_close(log_prior(weights, 0.5), expected)
    assert not torch.allclose(log_prior(weights, 0.1), expected)
    with pytest.raises(ValueError, match="floor must be positive, got 0"):
        log_prior(weights, 0.0)


def test_a_network_of_place_features_goes_to_another_city():
    model = tiny_model(**FEATURES, place_features_size=WIDTH)
    names = [n for n, v in model.state_dict().items() if PLACES in v.shape]
    assert names == []  # nothing learned belongs to one location
    here = random_windows(**full_extras())
    order = torch.randperm(PLACES, generator=torch.Generator().manual_seed(0))
    there = replace(  # the same city with other ids
        here,
        place_features=here.place_features[order],
        history_locations=order.argsort()[here.history_locations],
        candidates=None,
        prior=None,
    )
    torch.testing.assert_close(model(there), model(here)[:, :, order])
    larger = torch.cat([here.place_features, torch.randn(5, WIDTH)])
    assert model(replace(here, place_features=larger)).shape == (3, 4, PLACES + 5)


def test_place_features_may_have_another_precision():
    extras = full_extras()
    model = tiny_model(**FEATURES, place_features_size=WIDTH)
    single = model(random_windows(**extras))
    extras["place_features"] = extras["place_features"].double()
    torch.testing.assert_close(model(random_windows(**extras)), single)


def test_dropout_is_for_training_only():
    for share in ("dropout", "bert_dropout"):
        rates = {"dropout": 0.0, "bert_dropout": 0.0, share: 0.5}
        model, inputs = tiny_model(**rates), random_windows()
        torch.testing.assert_close(model(inputs), model(inputs), rtol=0, atol=0)
        model.train()
        torch.manual_seed(0)
        assert not torch.allclose(model(inputs), model(inputs)), share
    still = tiny_model(dropout=0.0, bert_dropout=0.0)
    expected = still(inputs)
    torch.testing.assert_close(still.train()(inputs), expected)


def test_gradients_are_finite_and_reach_every_weight():
    options = {"mask_token": True, "padding_mask": True, "prior": True, "top_k": 2}
    model = tiny_model(
        **options,
        balance_weight=0.1,
        location_input="both",
        place_features_size=WIDTH,
    )
    logits, balance = model.logits_and_balance_loss(random_windows(**full_extras()))
    (logits.square().mean() + balance).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_balance_loss_is_weighed_and_absent_without_experts():
    inputs = random_windows()
    loss = [
        tiny_model(balance_weight=w).logits_and_balance_loss(inputs)[1].item()
        for w in (0.5, 1.0)
    ]
    assert loss[1] == pytest.approx(2 * loss[0])
    assert loss[1] >= 1
    plain = tiny_model(model_name="MobilityBERT")
    assert plain.logits_and_balance_loss(random_windows("MobilityBERT"))[1] == 0


def test_padded_future_events_do_not_count_in_the_balance_loss():
    model, inputs = tiny_model(balance_weight=1.0), random_windows()
    padding = torch.zeros(3, 4, dtype=torch.bool)
    padding[:, 2:] = True
    expected = model.moe(model.encode(inputs)[:, :2])[1]
    padded = replace(inputs, future_padding=padding)
    torch.testing.assert_close(model.logits_and_balance_loss(padded)[1], expected)


@pytest.mark.parametrize("name", ["MobilityBERT", "MobilityBERTMoE"])
def test_one_step_lowers_the_loss(name):
    model = tiny_model(model_name=name, dropout=0.0, bert_dropout=0.0).train()
    inputs = random_windows(name)
    targets = torch.arange(12) % PLACES
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(2):
        loss = F.cross_entropy(model(inputs).flatten(0, 1), targets)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[1] < losses[0]
    assert losses[0] == pytest.approx(np.log(PLACES), abs=0.5)


def test_the_shared_loop_trains_it(tmp_path):
    class Task:
        model = tiny_model(prior=True, restrict_to_candidates=True).train()
        inputs = random_windows(**full_extras())
        learning_rates = {"location_embedding": 1e-4}  # noqa: RUF012

        def batches(self, epoch):  # noqa: ARG002
            return [self.inputs]

        def loss(self, model, batch):
            return F.cross_entropy(model(batch)[:, 0], batch.candidates[:, 0])

        def validation_loss(self, model):
            return self.loss(model, self.inputs).item()

    config = TrainingConfig(epochs=6, learning_rate=1e-2, accelerator="cpu")
    state = fit(Task(), config, tmp_path)
    assert state.best_loss < state.history[0]["training"]


def test_the_seed_decides_the_first_weights():
    config = bert_preset("tiny")
    first, again, other = (make_model(config, seed) for seed in (1, 1, 2))
    key = "bert.encoder.layer.0.output.dense.weight"
    assert torch.equal(first.state_dict()[key], again.state_dict()[key])
    assert not torch.equal(first.state_dict()[key], other.state_dict()[key])
    before = torch.random.get_rng_state()
    make_model(config, 3)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_first_weights_of_bert_are_small():
    weight = tiny_model(hidden_size=128).bert.encoder["layer"][0].output.dense.weight
    assert weight.std().item() == pytest.approx(0.02, rel=0.05)


def test_a_batch_can_change_its_device():
    inputs = random_windows(**full_extras())
    moved = inputs.to("meta")
    assert len(moved) == 3
    assert moved.prior.device.type == "meta"
    assert moved.future_padding is None


def test_shapes_of_the_parts_of_a_batch_must_agree():
    with pytest.raises(TypeCheckError):
        random_windows(history_padding=torch.zeros(3, 7, dtype=torch.bool))


BROKEN = {
    "prior": ({"prior": True}, {"prior": None}, "have no prior; expected"),
    "candidates": (
        {"prior": True},
        {"candidates": None, "prior": None},
        "have no prior and no candidates",
    ),
    "places": (
        {**FEATURES, "place_features_size": WIDTH},
        {"place_features": None},
        "have no place_features",
    ),
    "width": (
        {**FEATURES, "place_features_size": WIDTH + 1},
        {},
        "have 3 columns of place features; MobilityBERTMoE expects 4",
    ),
    "rows": (
        {"location_input": "features", "place_features_size": WIDTH},
        {"place_features": torch.zeros(7, WIDTH)},
        "have 7 rows of place features; MobilityBERTMoE expects 20",
    ),
    "model": (
        {"model_name": "MobilityBERT"},
        {},
        "have 6 columns; MobilityBERT expects 5",
    ),
    "history": (
        {"input_seq_length": 6},
        {},
        "have 8 history events; MobilityBERTMoE expects at most 6",
    ),
    "future": ({"predict_seq_length": 3}, {}, "have 4 future events; .* at most 3"),
    "location": (
        {"num_location_ids": 3},
        {},
        r"24 events have a location out of range \(first: .*\); expected 0 to 2",
    ),
    "candidate": (
        {},
        {"candidates": torch.full((3, 3), PLACES)},
        r"9 of 9 events have a candidate out of range .* expected -1 to 19",
    ),
    "empty": (
        {},
        {
            "history_padding": torch.ones(3, 8, dtype=torch.bool),
            "future_padding": torch.ones(3, 4, dtype=torch.bool),
        },
        r"3 of 3 windows have no events, only padding \(first: \[0, 1, 2\]\)",
    ),
    "nobody": (
        {"restrict_to_candidates": True},
        {"candidates": torch.full((3, 3), -1)},
        "3 of 3 windows have no candidates",
    ),
    "infinite": (
        {"prior": True},
        {"prior": torch.full((3, 4, 3, 1), -torch.inf)},
        "3 of 3 windows have no finite prior",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_batches_that_do_not_fit_are_refused(case):
    options, broken, message = BROKEN[case]
    model = tiny_model(**options)
    inputs = random_windows(**{**full_extras(), **broken})
    with pytest.raises(MoraError, match=message):
        model(inputs)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        (0, 75, "day out of range .* expected 0 to 74"),
        (1, 48, "slot out of range .* expected 0 to 47"),
        (3, 7, "day_of_week out of range .* expected 0 to 6"),
        (4, 2, "weekend out of range .* expected 0 to 1"),
        (5, -1, "delta out of range .* expected 0 or more"),
    ],
)
def test_features_out_of_range_are_refused(column, value, message):
    inputs = random_windows()
    inputs.future_features[1, 2, column] = value
    with pytest.raises(MoraError, match=rf"1 of 36 events have a {message}"):
        check_inputs(inputs, bert_preset("tiny"))


def test_defaults_run_forward():
    assert isinstance(tiny_model(), MobilityBERT)
    assert BertConfig().intermediate_size == 3072
