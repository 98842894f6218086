"""The tables of schema `edge`, their migrations, and the rights on them."""
