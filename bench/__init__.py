# SPDX-License-Identifier: MIT
"""Benchmarks of the package: ``python -m bench``, or ``make bench``."""
