"""The command line as ``python -m mora``, which ``torchrun -m mora`` starts."""

from mora.cli import main

if __name__ == "__main__":
    main()
