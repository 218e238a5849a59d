"""What the command line does beside `fit`, `validate` and `test`: attack, convert, export."""
