"""Gaps turned from a nearby text's metric, against the inverse of each text's own response."""

import pytest
import torch

from warmprompt.backbone.forward import read_texts, text_row
from warmprompt.backbone.load import load_backbone
from warmprompt.backbone.prompt import init_prompt
from warmprompt.backbone.readout import InverseResponse, ReadOutSize, damping_of, fit_read_out, read_reference
from warmprompt.backbone.response_cg import apply_inverse_response

WHOLE = "I love slow films"
VARIANTS = ["love slow films", "I slow films", "I love slow", "a student of 20"]


@pytest.fixture(scope="module", params=["tiny", "tiny-encoder"])
def setting(request):
    backbone = load_backbone(request.param)
    prompt_PH = init_prompt(backbone, length=4, init="vocab", seed=0)
    texts = ["", WHOLE, "a student of 20", "loud music and long walks"]
    size = ReadOutSize(num_directions=6, num_text_features=2, reach=1e-2)
    read = fit_read_out(backbone, prompt_PH, texts, read_reference(backbone, prompt_PH, texts), size, seed=0)
    prefix = read_texts(backbone, VARIANTS)
    metric_DD = InverseResponse(backbone, read, read_texts(backbone, [WHOLE])).get()
    gap_BD = torch.randn(len(VARIANTS), 6, generator=torch.Generator().manual_seed(0))
    gap_BD[1] = 0
    return backbone, read, prefix, metric_DD, gap_BD


def solved(backbone, read, prefix, metric_DD, gap_BD):
    """Solve each row's own system, the whole text's share on the diagonal in place of its own."""
    rows = []
    for row, gap_D in enumerate(gap_BD.double()):
        own_DD = InverseResponse(backbone, read, text_row(prefix, row)).get().double()
        shift = damping_of(metric_DD.double()) - damping_of(own_DD)
        rows.append(torch.linalg.solve(torch.linalg.inv(own_DD) + shift * torch.eye(6), gap_D))
    return torch.stack(rows)


@pytest.mark.parametrize("tolerance", [1e-1, 1e-3])
def test_a_gap_is_turned_as_by_the_texts_own_metric(setting, tolerance):
    backbone, read, prefix, metric_DD, gap_BD = setting
    found_BD = apply_inverse_response(
        backbone, read, prefix, gap_BD, metric_DD=metric_DD, tolerance=tolerance
    )
    wanted_BD = solved(*setting)
    assert not found_BD[1].any()
    for row in (0, 2, 3):
        error = (found_BD[row] - wanted_BD[row]).norm() / wanted_BD[row].norm()
        # What may be left is measured in the metric, whose axes differ in length by about ten.
        assert error < 10 * tolerance
        unsearched = ((gap_BD[row] @ metric_DD) - wanted_BD[row]).norm() / wanted_BD[row].norm()
        assert error < unsearched
