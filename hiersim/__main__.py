"""`python -m hiersim` is `hiersim`."""

from hiersim.cli.main import run

if __name__ == "__main__":
    run()
