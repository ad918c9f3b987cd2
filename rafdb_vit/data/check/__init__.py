"""What is wrong with a data set, looked for in every file."""
