"""Models: found, loaded with every weight accounted for, or built; and how their pixels are prepared."""
