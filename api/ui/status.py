"""Where a task is, as a line and a bar."""

from __future__ import annotations

from html import escape

from backdrop.client import Task

_STAGES = {
    "preparing": "Preparing",
    "denoising": "Painting",
    "finishing": "Finishing",
    "canceling": "Stopping",
}


def of_task(task: Task, elapsed_s: float) -> str:
    """HTML of a task's state."""
    if task.is_error:
        kind = "stopped" if task.error_code == 1206 else "error"  # canceled
        text = "Canceled" if kind == "stopped" else task.error_text
        return message(text, kind=kind)
    if task.status == "Queuing":
        place = f"place {task.queue_position} in the queue" if task.queue_position else "queued"
        return bar(f"Waiting: {place}", "", 0.0, elapsed_s)
    if task.has_ended:
        return bar("Done", task.note, 1.0, elapsed_s)
    steps = f"step {task.steps_done} of {task.steps_total}" if task.steps_total else ""
    return bar(_STAGES.get(task.stage, "Running"), steps, task.progress, elapsed_s)


def message(text: str, *, kind: str = "") -> str:
    """HTML of a line; `kind` is "error", "stopped" or nothing."""
    role = "alert" if kind == "error" else "status"
    return f'<div class="bd-status {kind}" role="{role}">{escape(text)}</div>'


def bar(what: str, detail: str, progress: float, elapsed_s: float) -> str:
    """HTML of a line and a bar; `progress` is 0..1."""
    percent = round(100 * progress)
    return (
        f'<div class="bd-status" role="status"><span><b>{escape(what)}</b> {escape(detail)}</span>'
        f"<span>{elapsed_s:.1f} s</span></div>"
        f'<div class="bd-bar" role="progressbar" aria-valuenow="{percent}" aria-valuemin="0" '
        f'aria-valuemax="100"><div style="width:{percent}%"></div></div>'
    )
