"""Progress on the screen: time left is the arithmetic of steps done, and every stage gets its bar."""

import io

from rich.console import Console

from warmprompt.cli.progress import _Bars, _bars, _Lines
from warmprompt.meta.learner import StepReport
from warmprompt.meta.trainer import TrainingProgress


def step(stage, epoch, batch, *, validation=None, best=None):
    report = None if validation is not None else StepReport(loss=1.0, gradient_norm=1.0)
    batches = 0 if validation is not None else 10
    return TrainingProgress(
        stage=stage, epoch=epoch, epochs=3, batch=batch, batches=batches, step=epoch * 10 + batch,
        report=report, rate=0.1, users_per_s=1234.0, validation=validation, best=best,
    )  # fmt: skip


def test_a_pipe_gets_plain_lines_with_rate_and_time_left(capsys):
    now = [0.0]
    progress = _Lines(lambda: now[0])
    progress("reading texts")
    for batch in range(1, 10):
        now[0] += 5.0
        progress(step("prompt", 0, batch))
    progress(step("prompt", 1, 0, validation=2.5, best=2.5))
    assert capsys.readouterr().err.splitlines() == [
        "[    0 s] reading texts",
        # Steps 2 and 3 took 5 s each, so the 27 left take 135 s.
        "[   15 s] prompts: step 3 of 30, 1,234 users/s, at most 135 s left",
        "[   30 s] prompts: step 6 of 30, 1,234 users/s, at most 120 s left",
        "[   45 s] prompts: step 9 of 30, 1,234 users/s, at most 105 s left",
        "[   45 s] prompts, epoch 1 of 3: validation loss 2.5000 (best so far)",
    ]


def test_a_terminal_gets_a_bar_per_stage_and_lines_above():
    screen = io.StringIO()
    bars = _bars(Console(file=screen, force_terminal=True, highlight=False, width=120))
    progress = _Bars(bars)
    with bars:
        progress("reading texts")
        progress(step("tangent", 0, 1))
        progress(step("tangent", 2, 10))
        progress(step("prompt", 0, 1))
        progress(step("prompt", 1, 4))
        progress(step("prompt", 1, 0, validation=2.5, best=2.0))
    assert [(task.description, task.completed, task.total) for task in bars.tasks] == [
        ("head and items", 30, 30),
        ("prompts", 14, 30),
    ]
    shown = screen.getvalue()
    assert "reading texts" in shown
    assert "1,234 users/s" in shown
    assert "prompts, epoch 1 of 3: validation loss 2.5000\n" in shown.replace("\r", "")
