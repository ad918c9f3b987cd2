"""The commands of `rafdb-vit`, one verb a module, each with a `main(argv=None)`."""
