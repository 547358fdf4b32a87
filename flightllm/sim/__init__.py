"""Simulation of the RTL: builds Verilated shared libraries on demand and runs them."""
