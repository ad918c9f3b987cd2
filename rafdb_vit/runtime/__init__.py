"""What every room stands on: errors, console, processes, signals, disk and hardware; nothing about faces."""
