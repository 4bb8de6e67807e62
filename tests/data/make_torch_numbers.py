"""Write torch_numbers.json beside this file: what PyTorch's optimizers, schedules and clipping do.

    pip install torch lion-pytorch
    python tests/data/make_torch_numbers.py

PyTorch has no Lion; lion-pytorch is the implementation that most people use. Everything is computed in float64.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import lion_pytorch
import numpy as np
import torch
from torch.optim import lr_scheduler

# (w - CENTRE)² · CURVATURE is minimised; noise, the same for all, lets gradients change their signs.
START, CENTRE, CURVATURE = [1.0, -2.0, 0.5], [0.5, 1.0, -1.0], [1.0, 0.1, 3.0]
STEPS = 12
NOISE = np.random.default_rng(0).standard_normal((STEPS, 3)).round(3)

OPTIMIZERS: list[tuple[str, dict[str, Any]]] = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "weight_decay": 0.05}),
    ("SGD", {"lr": 0.1, "momentum": 0.9}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.05, "nesterov": True}),
    ("Adam", {"lr": 0.1}),
    ("Adam", {"lr": 0.1, "betas": [0.8, 0.95], "eps": 1e-3, "weight_decay": 0.05}),
    ("AdamW", {"lr": 0.1}),
    ("AdamW", {"lr": 0.1, "betas": [0.8, 0.95], "eps": 1e-3, "weight_decay": 0.5}),
    ("RMSprop", {"lr": 0.05}),
    ("RMSprop", {"lr": 0.05, "alpha": 0.9, "eps": 1e-3, "weight_decay": 0.05}),
    ("RMSprop", {"lr": 0.05, "momentum": 0.9}),
    ("RMSprop", {"lr": 0.05, "alpha": 0.9, "momentum": 0.8, "centered": True, "weight_decay": 0.05}),
    ("Adagrad", {"lr": 0.5}),
    (
        "Adagrad",
        {"lr": 0.5, "lr_decay": 0.1, "weight_decay": 0.05, "initial_accumulator_value": 0.3, "eps": 1e-3},
    ),
    ("Lion", {"lr": 0.1}),
    ("Lion", {"lr": 0.1, "betas": [0.8, 0.95], "weight_decay": 0.4}),
]
MEASURED = [1.013, 0.987, 1.064, 1.01, 0.946, 1.036, 1.13, 1.095, 0.93, 0.873, 0.938, 1.004, 0.767, 0.978, 0.875]
MEASURED += [0.927, 0.946, 0.968, 1.041, 1.104, 0.987, 1.137, 0.933, 1.035, 1.09, 1.009, 0.926, 0.908, 0.954, 1.022]
PLATEAUS: list[dict[str, Any]] = [
    {"factor": 0.5, "patience": 1},
    {"factor": 0.5, "patience": 2, "cooldown": 3, "threshold": 0.05},
    {"factor": 0.1, "patience": 0, "mode": "max", "min_lr": 1e-3},
]


def descend(name: str, settings: dict[str, Any]) -> list[list[float]]:
    """Return the weights after each step."""
    make = lion_pytorch.Lion if name == "Lion" else getattr(torch.optim, name)
    w = torch.tensor(START, dtype=torch.float64, requires_grad=True)
    optimizer = make([w], **settings)
    centre, curvature = (torch.tensor(value, dtype=torch.float64) for value in (CENTRE, CURVATURE))
    weights = []
    for noise in NOISE:
        optimizer.zero_grad()
        ((w - centre) ** 2 * curvature + torch.tensor(noise) * w).sum().backward()
        optimizer.step()
        weights.append(w.detach().tolist())
    return weights


def sgd(lr: float) -> torch.optim.SGD:
    """Return an optimizer for a schedule to change."""
    return torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr)


def rates(optimizer: torch.optim.Optimizer, schedule: Any, epochs: int) -> list[float]:
    """Return the rate of each epoch (or step, for a schedule that counts steps)."""
    found = []
    for _ in range(epochs):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


def schedules() -> list[dict[str, Any]]:
    """Return cnnlib's name and settings of each schedule, and PyTorch's rates of the same."""
    step, cosine, warm = sgd(0.1), sgd(0.1), sgd(0.1)
    rise = lr_scheduler.LinearLR(warm, start_factor=0.1, total_iters=4)  # from 0.1 · 0.1 = min_lr
    fall = lr_scheduler.CosineAnnealingLR(warm, T_max=16, eta_min=0.01)
    warmed = lr_scheduler.SequentialLR(warm, [rise, fall], milestones=[4])
    return [
        {
            "name": "StepLR",
            "settings": {"lr": 0.1, "step_size": 3, "gamma": 0.5},
            "rates": rates(step, lr_scheduler.StepLR(step, step_size=3, gamma=0.5), 12),
        },
        {
            "name": "CosineLR",
            "settings": {"lr": 0.1, "epochs": 12, "min_lr": 0.01},
            "rates": rates(cosine, lr_scheduler.CosineAnnealingLR(cosine, T_max=12, eta_min=0.01), 13),
        },
        {
            "name": "CosineLR",
            "settings": {"lr": 0.1, "epochs": 20, "min_lr": 0.01, "warmup": 4},
            "rates": rates(warm, warmed, 21),
        },
    ]


def one_cycles() -> list[dict[str, Any]]:
    """Return settings, the number of steps, and the rate of each step."""
    found = []
    for settings in ({"max_lr": 0.1}, {"max_lr": 0.5, "pct_start": 0.1, "div_factor": 10.0, "final_div_factor": 100.0}):
        optimizer = sgd(0.1)
        schedule = lr_scheduler.OneCycleLR(optimizer, total_steps=101, cycle_momentum=False, **settings)
        found.append({"settings": settings, "steps": 101, "rates": rates(optimizer, schedule, 100)})
    return found


def plateau(settings: dict[str, Any]) -> list[float]:
    """Return the rate after each measured value."""
    optimizer = sgd(1.0)
    schedule = lr_scheduler.ReduceLROnPlateau(optimizer, **settings)
    found = []
    for value in MEASURED:
        schedule.step(value)
        found.append(optimizer.param_groups[0]["lr"])
    return found


def clipped(function: Any, limit: float) -> dict[str, Any]:
    """Return gradients before and after a function of torch.nn.utils."""
    before = [[3.0, -0.5, 0.0], [-4.0, 0.25]]
    parameters = [torch.zeros(len(grad), dtype=torch.float64, requires_grad=True) for grad in before]
    for parameter, grad in zip(parameters, before, strict=True):
        parameter.grad = torch.tensor(grad, dtype=torch.float64)
    function(parameters, limit)
    return {"limit": limit, "before": before, "after": [p.grad.tolist() for p in parameters if p.grad is not None]}


table = {
    "made_with": {"torch": torch.__version__, "lion-pytorch": "0.2.5"},
    "descent": {"start": START, "centre": CENTRE, "curvature": CURVATURE, "noise": NOISE.tolist()},
    "optimizers": [
        {"name": name, "settings": settings, "weights": descend(name, settings)} for name, settings in OPTIMIZERS
    ],
    "schedules": schedules(),
    "one_cycle": one_cycles(),
    "plateau": {
        "measured": MEASURED,
        "cases": [{"settings": settings, "rates": plateau(settings)} for settings in PLATEAUS],
    },
    "clip_grad_norm": [clipped(torch.nn.utils.clip_grad_norm_, limit) for limit in (1.0, 10.0)],
    "clip_grad_value": [clipped(torch.nn.utils.clip_grad_value_, limit) for limit in (1.0, 10.0)],
}
# Lists of numbers on one line.
text = re.sub(r"\[[^][{}]*\]", lambda found: " ".join(found[0].split()), json.dumps(table, indent=1))
Path(__file__).with_name("torch_numbers.json").write_text(text + "\n", encoding="utf-8")
