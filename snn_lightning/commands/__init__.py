"""What the command line does beside `fit`, `validate` and `test`: `attack` and `convert`."""
