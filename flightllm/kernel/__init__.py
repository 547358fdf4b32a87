"""The kernel as its host sees it, whatever it was made from: registers, arguments, ports, parameters."""
