# SPDX-License-Identifier: MIT
"""The main job: kernel threads, processes of this package and a plain program around one lock and one buffer."""
