"""`python -m flightllm` is the command `flightllm`."""

from flightllm.cli import main

if __name__ == "__main__":
    main()
