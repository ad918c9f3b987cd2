"""One module for each form in which data is held, and `detect`, which tells them apart."""
