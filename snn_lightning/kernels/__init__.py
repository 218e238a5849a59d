"""Fast twins of a few formulas, each with the slow one that reads like the paper.

`reference` is the recursion of the neuron; `cpu` and `triton` compute the same to the last bit.
`winograd` is a convolution, `linearised` a network without values, `layout` strides.
"""
