"""What is wrong with a data set, found before an hour of GPU is spent on it."""
