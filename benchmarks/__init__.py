"""How well the product works, measured on the lab; each module prints a table and writes JSON."""
