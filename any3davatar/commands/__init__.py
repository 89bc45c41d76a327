"""What the subcommands of `any3davatar` do, one module each; `any3davatar.cli` only parses.

These modules import torch and the rest of the library at their top: the command line imports the
one that it needs when a subcommand runs, so that ``--help`` stays quick.
"""
