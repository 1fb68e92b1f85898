"""`python -m trackmatte`."""

from trackmatte.cli import main

if __name__ == "__main__":
    main()
