"""flightllm: compile decoder LLMs to an FPGA instruction stream and execute it, bit-exact, with or without a board."""

__version__ = "0.1.0.dev0"
