"""`python -m warmprompt` is the command `warmprompt`."""

from warmprompt.cli import main

if __name__ == "__main__":
    main()
