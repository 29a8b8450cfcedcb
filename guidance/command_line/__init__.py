"""What a person types: options checked before Hydra runs, names of experiments, errors in one line."""

from guidance.command_line.checking import CONFIG_DIR, check_overrides, check_writable_folder
from guidance.command_line.multirun import in_sweep, refuse_own_processes
from guidance.command_line.one_line_errors import input_error, one_line_errors
from guidance.command_line.plain_parser import PlainParser
from guidance.command_line.running import run

__all__ = [
    "CONFIG_DIR",
    "PlainParser",
    "check_overrides",
    "check_writable_folder",
    "in_sweep",
    "input_error",
    "one_line_errors",
    "refuse_own_processes",
    "run",
]
