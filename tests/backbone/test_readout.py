"""The normalised read-out: a step of rate 1 moves the displacement by minus the gradient."""

import numpy as np
import pytest
import torch

from warmprompt.backbone.forward import read_out, read_texts
from warmprompt.backbone.load import load_backbone
from warmprompt.backbone.prompt import init_prompt
from warmprompt.backbone.readout import (
    InverseResponse,
    ReadOutSize,
    displacement,
    fit_read_out,
    inverse_responses,
    prompt_step,
    prompts_at,
    read_reference,
    text_features,
)
from warmprompt.errors import BadInputError

TEXTS = ["", *(f"{size} {word}" for word in ("film", "engineer", "song", "planet") for size in range(12))]


@pytest.fixture(scope="module", params=["tiny", "tiny-encoder"])
def backbone(request):
    return load_backbone(request.param, attention="eager")


def _fit(backbone, texts=TEXTS, **settings):
    prompt_PH = init_prompt(backbone, length=4, init="vocab", seed=0)
    hidden_NH = read_reference(backbone, prompt_PH, texts)
    size = ReadOutSize(**{"num_directions": 8, "num_text_features": 6, "reach": 0.01, **settings})
    return fit_read_out(backbone, prompt_PH, texts, hidden_NH, size, seed=0), hidden_NH


def _moved(backbone, read, texts, offsets_BPH):
    prefix = read_texts(backbone, texts)
    reference_BH = read_out(backbone, prefix, read.reference_PH.expand(len(texts), -1, -1))
    return displacement(read, read_out(backbone, prefix, prompts_at(read, offsets_BPH)), reference_BH)


def _response(backbone, read, texts, gradient_BD):
    """Return how far one gradient step of rate 1 on the offsets moves the displacement."""
    start = torch.zeros(len(texts), *read.reference_PH.shape, requires_grad=True)
    moved_BD = _moved(backbone, read, texts, start)
    (step,) = torch.autograd.grad((moved_BD * gradient_BD).sum(), start)
    with torch.no_grad():
        return _moved(backbone, read, texts, -step)


def _unit_gradients(num):
    gradient_BD = torch.randn(num, 8, generator=torch.Generator().manual_seed(2))
    return gradient_BD / gradient_BD.norm(dim=1, keepdim=True)


def test_one_step_moves_the_displacement_by_minus_the_gradient_exactly_for_one_text(backbone):
    # With one text the Jacobian is that of the fit, so only the response's curvature is left: a step that
    # travels 1 % of the prompt's norm is off by .02 on the decoder and .002 on the encoder, a tenth of the
    # step by a tenth of that. (SmolLM2 after six layers: .1 to .2 behind the empty text, .3 to .6 behind
    # others, whose Jacobians differ from the mean that is whitened.)
    read, _ = _fit(backbone, texts=["", ""])
    for size, tolerance in ((1.0, 0.05), (0.1, 0.005)):
        gradient_BD = size * _unit_gradients(16)
        moved_BD = _response(backbone, read, [""] * 16, gradient_BD)
        assert (moved_BD + gradient_BD).norm() < tolerance * gradient_BD.norm()


def test_over_texts_the_displacement_moves_by_minus_the_gradient_on_average(backbone):
    # Each text has its own Jacobian and only their mean is whitened, so single users differ more.
    read, _ = _fit(backbone)
    texts = TEXTS[1::3]
    gradient_BD = _unit_gradients(len(texts))
    moved_BD = _response(backbone, read, texts, gradient_BD)
    along_B = -(moved_BD * gradient_BD).sum(1)
    assert along_B.mean() == pytest.approx(1, abs=0.35)
    assert (along_B > 0.2).all()


def test_the_map_whitens_the_mean_jacobian_product(backbone):
    # move (J J^T) move^T u^2 is the identity for the Jacobian at the only text; J column by column
    # from automatic differentiation of the plain pass.
    read, _ = _fit(backbone, texts=["", ""])
    prefix = read_texts(backbone, [""])

    def moved(prompt_PH):
        return read_out(backbone, prefix, prompt_PH[None])[0] @ read.move_DH.T

    jacobian = torch.func.jacrev(moved)(read.reference_PH).reshape(8, -1)
    gram_DD = read.unit**2 * jacobian @ jacobian.T
    # Float32 Jacobians; eigenvalues range over a factor of about a hundred.
    torch.testing.assert_close(gram_DD, torch.eye(8), rtol=0, atol=1e-3)


def test_an_offset_of_zero_is_the_reference_and_moves_nothing(backbone):
    read, _ = _fit(backbone)
    zero = torch.zeros(3, *read.reference_PH.shape)
    assert torch.equal(prompts_at(read, zero)[1], read.reference_PH)
    assert not _moved(backbone, read, ["", "a", "b"], zero).any()


def test_a_unit_of_displacement_travels_reach_of_the_prompts_norm(backbone):
    for reach in (0.01, 0.05):
        read, _ = _fit(backbone, reach=reach)
        assert read.unit.item() == pytest.approx(reach * read.reference_PH.norm().item(), rel=1e-6)


def test_text_features_are_the_principal_components_of_standardised_states(backbone):
    read, hidden_NH = _fit(backbone)
    features_NT = text_features(read, hidden_NH)
    assert features_NT.shape == (len(TEXTS), 6)
    states = hidden_NH.double().numpy()
    standardised = (states - states.mean(0)) / states.std(0, ddof=1) / np.sqrt(states.shape[1])
    variances = np.linalg.eigvalsh(np.cov(standardised.T))[::-1][:6]
    # The mean over 49 texts in float32, divided by small deviations.
    assert features_NT.mean(0).abs().max() < 1e-3
    found = torch.cov(features_NT.T).double().numpy()
    np.testing.assert_allclose(found, np.diag(variances), rtol=0, atol=1e-2 * variances[0])


def test_features_beyond_what_texts_span_are_left_out(backbone):
    read, _ = _fit(backbone, texts=["", "a", "b"], num_text_features=6)
    assert len(read.text_TX) == 2


def test_many_texts_are_read_as_each_alone(backbone):
    prompt_PH = init_prompt(backbone, length=4, init="vocab", seed=0)
    texts = [TEXTS[number % len(TEXTS)] for number in range(70)]  # more than one chunk
    together_NH = read_reference(backbone, prompt_PH, texts)
    for row in (0, 1, 30, 69):
        alone_1H = read_reference(backbone, prompt_PH, [texts[row]])
        torch.testing.assert_close(together_NH[row : row + 1], alone_1H, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("num_directions", [0, 33])
def test_more_directions_than_the_model_has_are_refused(backbone, num_directions):
    with pytest.raises(BadInputError, match="1 to 32"):
        _fit(backbone, num_directions=num_directions)


@pytest.mark.parametrize("name", ["tiny", "tiny-encoder"])
def test_a_step_in_the_texts_metric_moves_the_displacement_straight(name):
    backbone = load_backbone(name)
    prompt_PH = init_prompt(backbone, length=4, init="vocab", seed=0)
    texts = ["", "I love slow films", "a student of 20", "loud music and long walks"]
    states_NX = read_reference(backbone, prompt_PH, texts)
    size = ReadOutSize(num_directions=6, num_text_features=2, reach=1e-4)
    read = fit_read_out(backbone, prompt_PH, texts, states_NX, size, seed=0)
    wanted_BD = torch.randn(1, 6, generator=torch.Generator().manual_seed(0))
    for text in ("", "an unseen text about nothing"):
        prefix = read_texts(backbone, [text])
        metric = InverseResponse(backbone, read, prefix)
        offsets = torch.zeros(1, *prompt_PH.shape, requires_grad=True)
        hidden_BH = read_out(backbone, prefix, prompts_at(read, offsets))
        gradients = [
            torch.autograd.grad(
                displacement(read, hidden_BH, hidden_BH.detach()), offsets, target, retain_graph=True
            )[0]
            for target in (wanted_BD, wanted_BD @ metric.get())
        ]
        errors = []
        for gradient in gradients:
            with torch.no_grad():
                moved_BH = read_out(backbone, prefix, prompts_at(read, gradient))
            reached_BD = displacement(read, moved_BH, hidden_BH.detach())
            errors.append(((reached_BD - wanted_BD).norm() / wanted_BD.norm()).item())
        assert errors[1] < 0.06
        assert errors[1] < errors[0] / 2
        assert metric.get() is metric.get()


def test_prompt_step_equals_the_gradient_step(backbone):
    read, _ = _fit(backbone)
    texts = ["I love slow films", "", "I love slow films"]
    prefix = read_texts(backbone, texts)
    metrics = inverse_responses(backbone, read, prefix, texts)
    generator = torch.Generator().manual_seed(0)
    target_BD = torch.randn(3, 8, generator=generator)
    target_BD[1] = 0
    rate_PH = torch.rand(read.reference_PH.shape, generator=generator)
    start = torch.zeros(3, *read.reference_PH.shape, requires_grad=True)
    gap_BD = _moved(backbone, read, texts, start) - target_BD
    weights_BDD = torch.stack([one.get() for one in metrics])
    loss = 0.5 * torch.einsum("bd,bde,be->", gap_BD, weights_BDD, gap_BD)
    (gradient,) = torch.autograd.grad(loss, start)
    found_BPH = prompt_step(metrics, gap_BD.detach(), rate=rate_PH)
    assert metrics[0].jacobian() is metrics[2].jacobian()
    # Float32 sums in another order, relative to the step's length.
    torch.testing.assert_close(
        found_BPH, -rate_PH * gradient, rtol=0, atol=1e-4 * gradient.abs().max().item()
    )
    assert not found_BPH[1].any()


def test_metric_is_the_inverse_of_jacrevs_response(backbone):
    read, _ = _fit(backbone)
    prefix = read_texts(backbone, ["some text"])
    metric = InverseResponse(backbone, read, prefix)

    def moved(offset_PH):
        return read_out(backbone, prefix, prompts_at(read, offset_PH[None]))[0] @ read.move_DH.T

    expected_DPH = torch.func.jacrev(moved)(torch.zeros_like(read.reference_PH))
    torch.testing.assert_close(metric.jacobian(), expected_DPH, rtol=1e-4, atol=1e-5)
    response_DD = (expected_DPH.flatten(1) @ expected_DPH.flatten(1).T).double()
    response_DD += 0.01 * response_DD.diagonal().mean() * torch.eye(8)
    torch.testing.assert_close(metric.get().double() @ response_DD, torch.eye(8).double(), rtol=0, atol=1e-3)
