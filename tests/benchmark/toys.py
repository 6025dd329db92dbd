"""Networks whose time, memory and operations are known."""
import time

import torch
import torch.nn as nn

MIB = 100


class Sleeper(nn.Module):
    """Sleeps 50 ms."""

    def forward(self, x):
        time.sleep(0.05)
        return x


class Hoarder(nn.Module):
    """Holds 100 MiB for a moment, whatever the image."""

    def forward(self, x):
        return x + torch.ones(MIB * 2**18).sum()


class Power(nn.Module):
    """Sleeps for tokens to a power."""

    def __init__(self, exponent):
        super().__init__()
        self.exponent = exponent

    def forward(self, x):
        tokens = x.shape[2] * x.shape[3] / 256
        time.sleep(0.02 * (tokens / 16)**self.exponent)
        return x


class Breaks(nn.Module):
    """Runs out of memory at once."""

    def forward(self, x):
        return torch.ones(2**50)


def sleeper(shape):
    return Sleeper()


def hoarder(shape):
    return Hoarder()


def linear(shape):
    return Power(1)


def quadratic(shape):
    return Power(2)


def breaks(shape):
    return Breaks()


def product(shape):
    return nn.Sequential(nn.Flatten(2), nn.Linear(shape[0] * shape[1], 64, bias=False))


class InTwoGraphs(nn.Module):
    """Cannot be compiled in one piece."""

    def forward(self, x):
        x = x * 2
        torch._dynamo.graph_break()
        return x + 1


def in_two_graphs(shape):
    return InTwoGraphs()
