# SPDX-License-Identifier: MIT OR Apache-2.0
"""Prints the folder for GST_PLUGIN_PATH."""

from . import plugin_path

print(plugin_path())
