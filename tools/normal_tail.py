"""Print the polynomials of csrc/kernels/curves.c for the normal distribution's tail; needs the package mpmath.

Φ(-t) = e^(-t²/2) R(t) for t >= 0, and (t + 4) R(t) is a smooth function of s = (t - 4)/(t + 4) in -1…1, up to t = ∞:
its Chebyshev series, cut where the rest is below half of the last place, written out in powers of s.
"""

from __future__ import annotations

import mpmath as mp

POINTS = 64


def tail(s: mp.mpf) -> mp.mpf:
    """Return (t + 4) R(t) at s < 1."""
    t = 4 * (1 + s) / (1 - s)
    return (t + 4) * mp.erfc(t / mp.sqrt(2)) / 2 * mp.exp(t * t / 2)


def chebyshev(terms: int) -> list[mp.mpf]:
    """Return the first coefficients of its Chebyshev series."""
    angles = [mp.pi * (j + mp.mpf(1) / 2) / POINTS for j in range(POINTS)]
    values = [tail(mp.cos(angle)) for angle in angles]
    sums = [sum(v * mp.cos(i * a) for v, a in zip(values, angles, strict=True)) for i in range(terms)]
    return [total * (2 if i else 1) / POINTS for i, total in enumerate(sums)]


def powers(series: list[mp.mpf]) -> list[mp.mpf]:
    """Return a Chebyshev series as a polynomial, the constant first."""
    result = [mp.mpf(0)] * len(series)
    before, this = [mp.mpf(1)], [mp.mpf(0), mp.mpf(1)]
    for coefficient in series:
        for i, factor in enumerate(before):
            result[i] += coefficient * factor
        following = [mp.mpf(0), *(2 * factor for factor in this)]
        for i, factor in enumerate(before):
            following[i] -= factor
        before, this = this, following
    return result


if __name__ == "__main__":
    mp.mp.dps = 60
    for name, terms, digits in (("float", 12, 10), ("double", 25, 18)):
        print(name, ", ".join(mp.nstr(value, digits) for value in powers(chebyshev(terms))))
